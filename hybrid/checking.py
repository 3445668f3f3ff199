"""Checks of the doctor: what one says, what it needs, and what all of them come to."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from schemas.settings import Settings
from streams.kafka.clients import BrokerUnavailableError
from streams.kafka.presence import TopicsError
from streams.store.clickhouse import ClickHouseRefusedError, ClickHouseUnavailableError
from streams.store.migrations import MigrationError

__all__ = ["POINTS", "Check", "Probe", "not_looked_at", "run_probes", "score_of"]

#: What a state is worth; `unknown` is a check that could not be made, for want of another's.
POINTS = {"ok": 1.0, "warning": 0.5, "broken": 0.0, "unknown": 0.0}


@dataclass(frozen=True, slots=True)
class Check:
    """One line: `ok`, `warning`, `broken` or `unknown`, a sentence, and what to do about it."""

    name: str
    state: str
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """A check to be made, once those that it needs are not broken."""

    name: str
    ask: Callable[[Settings], Awaitable[Check]]
    needs: tuple[str, ...] = ()
    #: What to do where it fails with an error.
    advice: str = ""


def score_of(checks: Sequence[Check]) -> int:
    """Give what all of them come to, in percent: 100 is only what is all well."""
    if not checks:
        return 0
    return int(100 * sum(POINTS[one.state] for one in checks) / len(checks))


async def run_probes(settings: Settings, probes: Iterable[Probe]) -> list[Check]:
    """Make checks in their order; none of them raises, and one for which another is broken waits.

    Only what is broken stands in another's way, and what is unknown for it.
    """
    done: dict[str, Check] = {}
    for probe in probes:
        away = [name for name in probe.needs if name in done and _is_away(done[name])]
        if away:
            done[probe.name] = not_looked_at(probe, done[away[0]])
        else:
            done[probe.name] = await guarded(probe, settings)
    return list(done.values())


def not_looked_at(probe: Probe, away: Check) -> Check:
    """Say that a check was not made, for want of another's."""
    detail = f"not looked at: {away.name} is {away.state}"
    return Check(probe.name, "unknown", detail, f"mend {away.name} first")


def _is_away(check: Check) -> bool:
    return check.state in {"broken", "unknown"}


async def guarded(probe: Probe, settings: Settings) -> Check:
    """Make a check; an error of the world around us is what it finds."""
    try:
        return await probe.ask(settings)
    except (
        BrokerUnavailableError,
        ClickHouseUnavailableError,
        ClickHouseRefusedError,
        MigrationError,
        TopicsError,
        KafkaError,
        TimeoutError,
        OSError,
    ) as error:
        return Check(probe.name, "broken", str(error) or type(error).__name__, probe.advice)
