"""The checks of `hybrid doctor`: everything that a deployment needs, one line each."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from aiokafka.errors import KafkaError

from agents.clock import SystemClock
from agents.pricing.book import age_of, book_of
from agents.pricing.prices import PriceBook
from agents.pricing.rates import Prompt
from hybrid.config import can_be_called, need_clickhouse, need_kafka
from hybrid.errors import HybridError
from hybrid.provider_checks import Check, examine_provider
from schemas.providers import ProviderSpec
from schemas.settings import Settings
from streams.kafka.clients import BrokerUnavailableError, admin_client
from streams.kafka.held import held_up
from streams.kafka.orphans import orphaned_delays, what_to_do
from streams.kafka.presence import TopicsError
from streams.kafka.topics import check_topics, require_usable
from streams.recording.lag import recorder_lag
from streams.store.clickhouse import ClickHouse, ClickHouseRefusedError, ClickHouseUnavailableError
from streams.store.migrations import MigrationError, pending

__all__ = ["Check", "examine"]

HTTP_LIMIT_S = 5
#: More than a few batches of the recorder.
MAX_LAG = 20_000


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
        checks.append(await _guarded("transactions", _transactions, settings))
        checks.append(await _guarded("recorder", _recorder, settings))
    checks += _prices(settings)
    checks += await asyncio.gather(
        *(examine_provider(settings, spec) for spec in settings.provider_specs)
    )
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


async def _transactions(settings: Settings) -> Check:
    """See whether somebody's open transaction keeps work from the workers."""
    held = await held_up(settings)
    if not held:
        return Check("transactions", "ok", "no open transaction holds up what workers read")
    first = held[0]
    tools = f"--topic {first.topic} --partition {first.partition}"
    detail = (
        f"an open transaction holds up partition {first.partition} of {first.topic} at offset "
        f"{first.stable} of {first.end}{f', and {len(held) - 1} others' if len(held) > 1 else ''}: "
        f"`kafka-transactions.sh describe-producers {tools}` names its producer; end or abort it"
    )
    return Check("transactions", "warning", detail)


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


def _is_priced(book: PriceBook, spec: ProviderSpec, model: str, at: datetime) -> bool:
    who = (spec.name, spec.kind)
    return book.worst(who, book.seller(who).names(model), Prompt(), at=at) is not None


def _prices(settings: Settings) -> list[Check]:
    """Name the models that would be called and have no price."""
    try:
        book, now = book_of(settings), SystemClock().now()
    except ValueError as error:
        return [Check("prices", "broken", str(error))]
    models = [
        (spec.name, model)
        for spec in settings.provider_specs
        if can_be_called(settings, spec)
        for model in settings.models_at(spec)
        if not _is_priced(book, spec, model, now)
    ]
    named = ", ".join(f"{model} at {provider}" for provider, model in sorted(models))
    if not named:
        detail = f"every configured model has one; {age_of(book.listed)}"
        return [Check("prices", "ok", detail)]
    detail = f"no price is known for {named}: its calls cost NULL; add it to [[prices]]"
    return [Check("prices", "warning", detail)]
