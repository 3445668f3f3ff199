"""The checks of `hybrid doctor`: everything that a deployment needs, one line each."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx
from aiokafka.errors import KafkaError

from agents.clock import SystemClock
from agents.pricing.book import age_of, book_of
from agents.pricing.rates import Prompt
from hybrid.config import address_of, can_be_called, need_clickhouse, need_kafka
from hybrid.errors import HybridError
from hybrid.text import shown_address
from schemas.providers import ProviderSpec
from schemas.settings import Settings
from streams.kafka.clients import BrokerUnavailableError, admin_client
from streams.kafka.orphans import orphaned_delays, what_to_do
from streams.kafka.topics import TopicsError, check_topics, require_usable
from streams.recording.lag import recorder_lag
from streams.store.clickhouse import ClickHouse, ClickHouseRefusedError, ClickHouseUnavailableError
from streams.store.migrations import MigrationError, pending

__all__ = ["Check", "examine"]

MAX_SKEW_S = 5
HTTP_LIMIT_S = 5
#: More than a few batches of the recorder.
MAX_LAG = 20_000


@dataclass(frozen=True, slots=True)
class Check:
    """One line: `ok`, `warning` or `broken`."""

    name: str
    state: str
    detail: str


async def examine(settings: Settings) -> list[Check]:
    """Run all checks; none of them raises."""
    checks = [Check("configuration", "ok", "every value is allowed")]
    is_local = not settings.kafka_bootstrap_servers  # then it is the stack of `hybrid up`, if any
    try:
        settings = need_kafka(settings)
    except HybridError as error:
        checks.append(Check("kafka", "broken", str(error)))
    else:
        checks += await asyncio.gather(
            _guarded("kafka", _kafka, settings),
            _guarded("topics", _topics, settings),
        )
    try:
        settings = need_clickhouse(settings)
    except HybridError as error:
        checks.append(Check("clickhouse", "broken", str(error)))
    else:
        checks.append(await _guarded("clickhouse", _clickhouse, settings))
    if any(check.name == "kafka" and check.state == "ok" for check in checks):
        checks.append(await _guarded("deferred", _deferred, settings))
        checks.append(await _guarded("recorder", _recorder, settings))
    checks += _prices(settings)
    checks += await asyncio.gather(*(_provider(settings, spec) for spec in settings.provider_specs))
    if not any(can_be_called(settings, spec) for spec in settings.provider_specs):
        checks.append(_without_keys(is_local=is_local and bool(settings.kafka_bootstrap_servers)))
    return checks


def _without_keys(*, is_local: bool) -> Check:
    """Say what it means that no key is set here: nothing to workers of the local stack."""
    if is_local:
        return Check("providers", "ok", "the workers of `hybrid up` have what it gave them")
    return Check("providers", "warning", "no key is set: workers will refuse to start")


async def _guarded(
    name: str, check: Callable[[Settings], Awaitable[Check]], settings: Settings
) -> Check:
    try:
        return await check(settings)
    except (
        BrokerUnavailableError,
        ClickHouseUnavailableError,
        ClickHouseRefusedError,
        MigrationError,
        TopicsError,
        KafkaError,
        TimeoutError,
    ) as error:
        return Check(name, "broken", str(error) or type(error).__name__)


async def _kafka(settings: Settings) -> Check:
    async with admin_client(settings) as admin:
        cluster = await admin.describe_cluster()
    count = len(cluster["brokers"])
    return Check("kafka", "ok", f"{count} brokers answer" if count > 1 else "1 broker answers")


async def _topics(settings: Settings) -> Check:
    reports = await check_topics(settings)
    wrong = [f"{report.name}: {report.detail}" for report in reports if report.state != "ok"]
    if any(report.state in {"missing", "hidden"} for report in reports):
        return Check("topics", "broken", "; ".join(wrong))
    require_usable(settings, reports)  # what a worker would refuse is broken
    if wrong:
        return Check("topics", "warning", "; ".join(wrong))
    return Check("topics", "ok", f"{len(reports)} topics are as wanted")


async def _deferred(settings: Settings) -> Check:
    """See whether work waits in topics that no worker reads."""
    delays = await orphaned_delays(settings)
    if delays:
        return Check("deferred", "broken", what_to_do(settings, delays))
    return Check("deferred", "ok", "what waits is read")


async def _clickhouse(settings: Settings) -> Check:
    def look() -> Check:
        store = ClickHouse(settings, timeout_s=HTTP_LIMIT_S)
        try:
            missing = ", ".join(step.label for step in pending(store))
        finally:
            store.close()
        if missing:
            return Check("clickhouse", "broken", f"not applied: {missing}; run `hybrid migrate`")
        return Check("clickhouse", "ok", "tables and views are as wanted")

    return await asyncio.to_thread(look)


async def _recorder(settings: Settings) -> Check:
    """See what Kafka has that ClickHouse has not."""
    lag = await recorder_lag(settings)
    if lag is None:
        return Check("recorder", "warning", "nothing has been recorded yet: run `hybrid recorder`")
    if lag > MAX_LAG:
        detail = f"{lag:,} records are not in ClickHouse: is a recorder running, and what says it?"
        return Check("recorder", "warning", detail)
    behind = f"all but the newest {lag:,} records" if lag else "all records"
    return Check("recorder", "ok", f"ClickHouse has {behind}")


def _prices(settings: Settings) -> list[Check]:
    """Name the models that would be called and have no price."""
    try:
        book, now = book_of(settings), SystemClock().now()
    except ValueError as error:
        return [Check("prices", "broken", str(error))]
    models = {
        (spec.name, spec.deployment or spec.model)
        for spec in settings.provider_specs
        if can_be_called(settings, spec)
        if book.worst(
            (who := (spec.name, spec.kind)),
            book.seller(who).names(spec.deployment or spec.model), Prompt(), at=now,
        ) is None
    }  # fmt: skip
    named = ", ".join(f"{model} at {provider}" for provider, model in sorted(models))
    if not named:
        detail = f"every configured model has one; {age_of(book.listed)}"
        return [Check("prices", "ok", detail)]
    detail = f"no price is known for {named}: its calls cost NULL; add it to [[prices]]"
    return [Check("prices", "warning", detail)]


async def _provider(settings: Settings, spec: ProviderSpec) -> Check:
    """See whether the endpoint answers at all (any status will do), and compare clocks."""
    name = spec.name
    if not can_be_called(settings, spec):
        return Check(name, "ok", "not configured")
    url = settings.hybrid_simulator or address_of(spec)
    shown = shown_address(url).partition("://")[2].partition("/")[0] or "its address"
    try:
        async with asyncio.timeout(HTTP_LIMIT_S), httpx.AsyncClient(timeout=HTTP_LIMIT_S) as client:
            date = (await client.get(url)).headers.get("Date")
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
        return Check(name, "broken", f"{shown} does not answer ({type(error).__name__})")
    if date:
        skew = abs(parsedate_to_datetime(date).timestamp() - time.time())
        if skew > MAX_SKEW_S:
            return Check(name, "warning", f"answers, but the clocks differ by {skew:.0f} s")
    return Check(name, "ok", f"{shown} answers, clocks agree")
