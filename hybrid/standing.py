"""How things stand: what waits, what runs, the providers, the recorder, today's spend.

Each part is asked for by itself: one that does not answer is unknown, with its reason, and never 0.
"""

import asyncio
import re
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from http.client import HTTPException
from typing import Any

from schemas.base import format_time
from schemas.operations import HoldRecord
from schemas.settings import Settings
from streams.bill.costs import total
from streams.kafka.line import Line, stand_in_line
from streams.recording.lag import recorder_lag
from streams.store.clickhouse import ClickHouse
from streams.stories.words import duration
from streams.triage.ordered import read_orders

__all__ = [
    "Need",
    "Provider",
    "Standing",
    "Together",
    "Worker",
    "document_of",
    "gather",
    "needs",
    "providers_of",
    "verdict",
    "worker_of",
]

#: Nobody waits longer for one part of the screen.
PART_LIMIT_S = 10.0
#: What waits is counted for so long.
COUNT_LIMIT_S = 4.0
#: A worker that does not answer within this is not reachable.
METRICS_LIMIT_S = 2.0
#: An intent that has been in line for longer is somebody's business.
LONG_WAIT = timedelta(minutes=5)
#: More than a few batches of the recorder.
MOST_BEHIND = 20_000
SAMPLE = re.compile(r"(?m)^(?P<name>hybrid_\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as one worker sees it."""

    name: str
    available: bool
    in_flight: int
    resting_keys: int
    #: Where the breaker stands; empty = an older worker, which does not say it.
    state: str = ""
    #: Seconds until it may be called; the part of its limits that is used. None = not said.
    wait_s: float | None = None
    pace: float | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker says of itself at `/metrics`."""

    address: str
    ready: bool
    in_flight: int
    waiting: int
    lanes: int
    providers: tuple[Provider, ...]


@dataclass(frozen=True, slots=True)
class Together:
    """A provider as all workers see it."""

    name: str
    #: How many of the workers call it.
    open_to: int
    workers: int
    in_flight: int
    resting: int


@dataclass
class Standing:
    """All parts; what is unknown is None, and `unknown` says why."""

    as_of: datetime
    line: Line | None = None
    workers: tuple[Worker, ...] = ()
    recorder_lag: int | None = None
    spend: dict[str, Any] | None = None
    #: What operators have paused, the oldest first.
    paused: tuple[HoldRecord, ...] | None = None
    unknown: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Need:
    """Something that needs somebody."""

    #: workers, provider, waiting or recorder.
    about: str
    sentence: str
    #: The provider's name, where it is about one.
    subject: str = ""
    #: When it began, where that is known.
    since: datetime | None = None


def worker_of(address: str, text: str) -> Worker:
    """Read a worker's metrics."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for sample in SAMPLE.finditer(text):
        labels = dict(LABEL.findall(sample["labels"] or ""))
        found.setdefault(sample["name"], []).append((labels, float(sample["value"])))

    def one(name: str) -> int:
        return int(found[name][0][1]) if name in found else 0

    def of(name: str, provider: str, **wanted: str) -> int:
        labels = {"provider": provider, **wanted}
        return int(next((value for seen, value in found.get(name, ()) if seen == labels), 0))

    def told(name: str, provider: str) -> float | None:
        said = (value for seen, value in found.get(name, ()) if seen == {"provider": provider})
        return next(said, None)

    def stands(provider: str) -> str:
        states = found.get("hybrid_provider_state", ())
        own = (seen for seen, value in states if value and seen.get("provider") == provider)
        return next(own, {}).get("state", "")

    providers = tuple(
        Provider(
            labels["provider"],
            bool(value),
            of("hybrid_provider_in_flight", labels["provider"]),
            of("hybrid_provider_keys", labels["provider"], state="resting"),
            stands(labels["provider"]),
            told("hybrid_provider_wait_seconds", labels["provider"]),
            told("hybrid_provider_pace", labels["provider"]),
        )
        for labels, value in found.get("hybrid_provider_available", ())
    )
    return Worker(
        address,
        bool(one("hybrid_ready")),
        one("hybrid_in_flight"),
        one("hybrid_waiting"),
        one("hybrid_lanes"),
        providers,
    )


def providers_of(standing: Standing | None) -> list[Together]:
    """Put together what all workers say of each provider."""
    found: dict[str, list[Provider]] = {}
    for worker in standing.workers if standing else ():
        for one in worker.providers:
            found.setdefault(one.name, []).append(one)
    return [
        Together(
            name,
            sum(one.available for one in seen),
            len(seen),
            sum(one.in_flight for one in seen),
            sum(one.resting_keys for one in seen),
        )
        for name, seen in found.items()
    ]


def needs(standing: Standing) -> list[Need]:
    """Give what needs somebody, the worst first; nothing = nothing does, as far as it is known."""
    found = []
    workers, line = standing.workers, standing.line
    if workers and not any(one.ready for one in workers):
        found.append(Need("workers", "no worker is ready"))
    for one in providers_of(standing):
        shut = one.workers - one.open_to
        if shut:
            said = (
                f"{one.name} is not called by {shut} of {one.workers} workers: breaker not closed"
            )
            found.append(Need("provider", said, one.name))
        if one.resting:
            found.append(
                Need("provider", f"{one.name} refuses {one.resting} of its keys", one.name)
            )
    if line is not None and line.oldest_at is not None:
        age = standing.as_of - line.oldest_at
        if age > LONG_WAIT:
            said = f"the oldest intent in line came in {duration(age)} ago"
            found.append(Need("waiting", said, since=line.oldest_at))
    if (standing.recorder_lag or 0) > MOST_BEHIND:
        said = f"the recorder is {standing.recorder_lag:,} records behind"
        found.append(Need("recorder", said))
    return found


def verdict(standing: Standing) -> list[str]:
    """Say what needs somebody, the worst first."""
    return [one.sentence for one in needs(standing)]


def document_of(standing: Standing) -> dict[str, Any]:
    """Give all of it for programs; what is unknown is null, and `unknown` says why."""
    line, workers = standing.line, standing.workers
    waits = None if line is None else dict(line.by_topic)
    return {
        "as_of": format_time(standing.as_of),
        "needs": verdict(standing),
        "in_line": waits,
        "in_line_counted_whole": None if line is None else line.whole,
        "oldest_at": format_time(line.oldest_at) if line and line.oldest_at else None,
        "next_due_at": format_time(line.next_due_at) if line and line.next_due_at else None,
        "in_flight": sum(one.in_flight for one in workers) if workers else None,
        "workers": [asdict(one) for one in workers],
        "recorder_lag": standing.recorder_lag,
        "spend_today": standing.spend,
        "paused": None
        if standing.paused is None
        else [one.model_dump(mode="json", exclude={"kind", "held"}) for one in standing.paused],
        "unknown": standing.unknown,
    }


async def gather(settings: Settings, addresses: Sequence[str], *, now: datetime) -> Standing:
    """Ask all parts at once; a part that fails is unknown. `addresses` are workers' `/metrics`."""
    standing = Standing(now)

    async def part(name: str, ask: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
        try:
            async with asyncio.timeout(PART_LIMIT_S):
                return await ask()
        except TimeoutError:
            standing.unknown[name] = f"no answer within {PART_LIMIT_S:g} s"
        except Exception as error:  # noqa: BLE001 - whatever it is, the other parts are shown
            standing.unknown[name] = str(error) or type(error).__name__
        return None

    async def workers() -> tuple[Worker | str, ...]:
        return tuple(await asyncio.gather(*(asyncio.to_thread(_worker, one) for one in addresses)))

    if not addresses:
        standing.unknown["workers"] = "no address is known: name each with --metrics URL"
    asked = await asyncio.gather(
        part("waiting", lambda: stand_in_line(settings, limit_s=COUNT_LIMIT_S)),
        part("workers", workers),
        part("recorder", lambda: recorder_lag(settings)),
        part("spend", lambda: asyncio.to_thread(_spend, settings, now)),
        part("paused", lambda: read_orders(settings, now)),
    )
    standing.line, standing.recorder_lag, standing.spend = asked[0], asked[2], asked[3]
    standing.paused = None if asked[4] is None else tuple(asked[4])
    answers: tuple[Worker | str, ...] = asked[1] or ()
    standing.workers = tuple(one for one in answers if isinstance(one, Worker))
    silent = [one for one in answers if isinstance(one, str)]
    if silent:
        standing.unknown["workers"] = "; ".join(silent)
    if standing.recorder_lag is None:
        standing.unknown.setdefault("recorder", "no recorder has committed anything yet")
    return standing


def _worker(address: str) -> Worker | str:
    """Ask a worker; a sentence where it does not answer."""
    try:
        with urllib.request.urlopen(address, timeout=METRICS_LIMIT_S) as answer:  # noqa: S310 - the command lets in http(s) only
            return worker_of(address, answer.read().decode("utf-8", "replace"))
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        return f"{address} does not answer ({reason})"


def _spend(settings: Settings, now: datetime) -> dict[str, Any]:
    if settings.clickhouse_url is None:
        message = "no ClickHouse is configured: set CLICKHOUSE_URL"
        raise ValueError(message)
    store = ClickHouse(settings, timeout_s=PART_LIMIT_S, reads=True)
    try:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        table = total(store, since=midnight)
    finally:
        store.close()
    return table.named()[0]
