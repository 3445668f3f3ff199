"""The checks of `hybrid doctor`: everything that a deployment needs, one line each."""

import asyncio
from collections.abc import Sequence

from hybrid.broker_checks import (
    check_broker,
    check_deferred,
    check_instance,
    check_producer,
    check_recorder,
    check_replication,
    check_rights,
    check_topics_wanted,
    check_transactions,
)
from hybrid.checking import Check, Probe, not_looked_at, run_probes, score_of
from hybrid.config import can_be_called, need_clickhouse, need_kafka
from hybrid.errors import HybridError
from hybrid.host_checks import check_content, check_port, check_prices, check_secrets
from hybrid.provider_checks import examine_provider
from hybrid.store_checks import check_dead_letters, check_orphans, check_store, check_tables
from schemas.settings import Settings

__all__ = ["Check", "examine", "score_of"]

KAFKA = (
    Probe("kafka", check_broker, advice="see KAFKA_BOOTSTRAP_SERVERS, and whether a broker runs"),
    Probe("topics", check_topics_wanted, ("kafka",), "run `hybrid topics ensure`"),
    Probe("replication", check_replication, ("kafka", "topics")),
    Probe("rights", check_rights, ("kafka", "topics")),
    Probe("producer", check_producer, ("kafka",)),
    Probe("deferred", check_deferred, ("kafka",)),
    Probe("transactions", check_transactions, ("kafka",)),
    Probe("instance", check_instance, ("kafka",)),
    Probe("recorder", check_recorder, ("kafka",)),
)
STORE = (
    Probe("clickhouse", check_tables, advice="see CLICKHOUSE_URL, and whether the server runs"),
    Probe("server", check_store, ("clickhouse",)),
    Probe("orphans", check_orphans, ("clickhouse",)),
    Probe("dead-letters", check_dead_letters, ("clickhouse",)),
)
HOST = (
    Probe("prices", check_prices),
    Probe("secrets", check_secrets),
    Probe("content", check_content),
    Probe("port", check_port),
)


async def examine(settings: Settings) -> list[Check]:
    """Run all checks; none of them raises."""
    checks = [Check("configuration", "ok", "every value is allowed")]
    is_local = not settings.kafka_bootstrap_servers  # then it is the stack of `hybrid up`, if any
    refused: dict[str, str] = {}
    for name, need in (("kafka", need_kafka), ("clickhouse", need_clickhouse)):
        try:
            settings = need(settings)
        except HybridError as error:
            refused[name] = str(error)
    kafka, store, host = await asyncio.gather(
        _group(settings, KAFKA, refused.get("kafka")),
        _group(settings, STORE, refused.get("clickhouse")),
        run_probes(settings, HOST),
    )
    checks += [*kafka, *store, *host]
    checks += await asyncio.gather(
        *(examine_provider(settings, spec) for spec in settings.provider_specs)
    )
    if not any(can_be_called(settings, spec) for spec in settings.provider_specs):
        checks.append(_without_keys(is_local=is_local and bool(settings.kafka_bootstrap_servers)))
    return checks


async def _group(settings: Settings, probes: Sequence[Probe], refused: str | None) -> list[Check]:
    """Make the checks of one server; `refused` says why it is not known where that is."""
    if refused is None:
        return await run_probes(settings, probes)
    first, *others = probes
    broken = Check(first.name, "broken", refused, first.advice)
    return [broken, *(not_looked_at(one, broken) for one in others)]


def _without_keys(*, is_local: bool) -> Check:
    """Say what it means that no key is set here: nothing to workers of the local stack."""
    if is_local:
        return Check("providers", "ok", "the workers of `hybrid up` have what it gave them")
    detail = "no key is set: workers will refuse to start"
    return Check("providers", "warning", detail, "set OPENAI_API_KEY, or a key of another provider")
