"""`make outage`: a scripted outage of the providers, ten minutes in the time of one.

Waits are a tenth of the real ones (breaker 3 s instead of 30, time limits 3 s), so a second here stands
for ten. What must hold: no intent is lost or dead-lettered for the provider's fault; a provider that
is down costs few calls; an open breaker lets few probes through; work goes on soon after recovery.
"""

import argparse
import asyncio
import json
import logging
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from schemas.settings import Settings
from streams.kafka.reading import read_topic
from streams.publishing.intents import open_producer
from tests.chaos.oracle import Outcomes, read_calls, read_outcomes, settled_lag
from tests.chaos.running import RunningStack, running_stack
from tests.chaos.traffic import intent

#: Seconds here stand for so many seconds of the story.
COMPRESSED = 10
ENVIRONMENT = {
    "HYBRID_RETRY_DELAYS": "0.1,0.2,0.5",
    "HYBRID_DEFER_DELAYS": "1,6,60",
    "HYBRID_BREAKER_CALLS": "20",
    "HYBRID_BREAKER_OPEN": "3",
    "HYBRID_CONCURRENCY": "64",
}
WORKERS = 2
RATE = 40.0
MOST_CALLS_PER_INTENT = 1.15
MOST_PROBES_A_MINUTE = 3.0
RECOVERY_S = 10.0
SETTLE_S = 120
OK: dict[str, Any] = {"latency_ms": 60}


@dataclass(frozen=True)
class Act:
    """One part of the story: how each provider behaves, for how long."""

    name: str
    seconds: float
    openai: dict[str, Any] = field(default_factory=lambda: OK)
    azure: dict[str, Any] = field(default_factory=lambda: OK)
    #: Whether openai is down as a whole while azure is up.
    openai_down: bool = False
    #: Whether nobody answers: what recovers is measured after it.
    all_down: bool = False


def down(how: str) -> dict[str, Any]:
    return {"always": how, "latency_ms": 30}


STORY = (
    Act("all is well", 5),
    Act("openai answers 503", 12, openai=down("503"), openai_down=True),
    Act("all is well", 6),
    Act("openai: half are 429, Retry-After 1 s", 6, openai={"rate_429": 0.5, "retry_after": "1", **OK}),
    Act("openai hangs", 12, openai=down("hang"), openai_down=True),
    Act("all is well", 6),
    Act("openai resets connections", 12, openai=down("reset"), openai_down=True),
    Act("all is well", 6),
    Act("openai: key expired", 8, openai=down("401"), openai_down=True),
    Act("all is well", 6),
    Act("both answer 503", 10, openai=down("503"), azure=down("503"), all_down=True),
    Act("both are back", 8),
    Act("both keys expired", 10, openai=down("401"), azure=down("401"), all_down=True),
    Act("both are back", 8),
)  # fmt: skip


@dataclass
class Told:
    """What was measured of an act."""

    act: Act
    begin: float
    end: float = 0.0
    intents: int = 0


async def tell(running: RunningStack, console: Console) -> tuple[list[Told], set[str], list[float]]:
    """Act out the story under steady traffic; gives the acts, the intents, and when results came."""
    told: list[Told] = []
    published: set[str] = set()
    results: list[float] = []
    watching = asyncio.create_task(_watch(running.settings, results))
    async with open_producer(running.settings) as client:
        for act in STORY:
            running.set_faults({"openai": act.openai, "azure": act.azure})
            console.print(f"  {act.name} ({act.seconds:g} s)", highlight=False)
            now = Told(act, time.time())
            begin = time.monotonic()
            while time.monotonic() - begin < act.seconds:
                identifier, value = intent(len(published), prefix="o")
                published.add(identifier)
                now.intents += 1
                await client.send(running.settings.topics.intents, value, identifier.encode())
                await asyncio.sleep(max(0.0, begin + now.intents / RATE - time.monotonic()))
            now.end = time.time()
            told.append(now)
    deadline = time.monotonic() + SETTLE_S
    while len(results) < len(published) and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return told, published, results


async def _watch(settings: Settings, into: list[float]) -> None:
    async for record in read_topic(settings, settings.topics.results, follow=True):
        into.append(record.timestamp / 1000)  # noqa: PERF401 - seen while it grows


@dataclass(frozen=True)
class Line:
    """One line of the report."""

    name: str
    seconds: float
    intents: int
    results: int
    openai: int
    azure: int
    wasted: int
    calls_per_intent: float | None
    probes: float | None
    resumed_s: float | None
    verdict: str


@dataclass(frozen=True)
class Witness:
    """What the simulator saw of openai's calls, and what workers said of its breaker."""

    calls: list[tuple[str, float]]  # worker, when
    opened: list[tuple[str, float]]  # worker, when its breaker opened or took openai down

    def probes_a_minute(self, begin: float, end: float) -> float:
        """Calls a minute of the story that a worker made after its breaker had opened in an act.

        Of the worker that made most; 0 when no breaker opened.
        """
        rates = [0.0]
        for worker in {worker for worker, _ in self.opened}:
            opened = [at for who, at in self.opened if who == worker and begin <= at < end]
            if opened:
                since = min(opened)
                made = sum(who == worker and since < at < end for who, at in self.calls)
                rates.append(made / ((end - since) * COMPRESSED / 60))
        return max(rates)


async def witness_of(settings: Settings, calls: list[dict[str, Any]]) -> Witness:
    """Put attempts, which know their worker, beside the simulator's log, and read the events."""
    workers, opened = {}, []
    async for record in read_topic(settings, settings.topics.attempts):
        attempt = json.loads(record.value or b"{}")
        workers[attempt["attempt_id"]] = attempt["worker"]
    async for record in read_topic(settings, settings.topics.events):
        event = json.loads(record.value or b"{}")
        moved = event["details"]
        mine = event["name"] == "provider_health_changed" and moved["provider"] == "openai"
        if mine and moved["after"] in {"open", "down"}:
            at = datetime.fromisoformat(event["occurred_at"]).timestamp()
            opened.append((event["worker"], at))
    seen = [
        (workers.get(call["attempt_id"], ""), call["at"])
        for call in calls
        if call["provider"] == "openai"
    ]
    return Witness(seen, opened)


def judge(one: Told, calls: list[dict[str, Any]], results: list[float], witness: Witness) -> Line:
    """Measure an act, and say whether it may be so."""
    within = [call for call in calls if one.begin <= call["at"] < one.end]
    by_provider = Counter(call["provider"] for call in within)
    bad = [call for call in within if call["status"] != 200]
    wrong, per_intent, probes, resumed = [], None, None, None
    if one.act.openai_down:
        per_intent = len(within) / one.intents
        if per_intent > MOST_CALLS_PER_INTENT:
            wrong.append(f"{per_intent:.2f} calls an intent")
    if one.act.openai_down or one.act.all_down:
        probes = witness.probes_a_minute(one.begin, one.end)
        if probes > MOST_PROBES_A_MINUTE:
            wrong.append(f"{probes:.1f} probes a minute")
    if one.act.all_down:
        resumed = min((at for at in results if at > one.end), default=float("inf")) - one.end
        if resumed > RECOVERY_S:
            wrong.append(f"resumed after {resumed:.1f} s")
    return Line(
        one.act.name,
        one.end - one.begin,
        one.intents,
        sum(one.begin <= at < one.end for at in results),
        by_provider["openai"],
        by_provider["azure"],
        len(bad),
        per_intent,
        probes,
        resumed,
        "; ".join(wrong) or "ok",
    )


def show(console: Console, lines: list[Line]) -> None:
    table = Table(
        "act", "s", "intents", "results", "calls openai", "azure", "failed", "calls / intent",
        "probes / min", "resumed after", "", title="the outage, act by act",
    )  # fmt: skip
    for line in lines:
        table.add_row(
            line.name,
            f"{line.seconds:.0f}",
            str(line.intents),
            str(line.results),
            str(line.openai),
            str(line.azure),
            str(line.wasted),
            "" if line.calls_per_intent is None else f"{line.calls_per_intent:.2f}",
            "" if line.probes is None else f"{line.probes:.1f}",
            "" if line.resumed_s is None else f"{line.resumed_s:.1f} s",
            line.verdict,
        )
    console.print(table)
    console.print(
        f"{WORKERS} workers, {RATE:g} intents/s; a second stands for {COMPRESSED}. calls / intent (at most "
        f"{MOST_CALLS_PER_INTENT}) where openai alone is down; probes a minute of the story, for a worker's open "
        f"breaker (at most {MOST_PROBES_A_MINUTE:g}); resumed: first result after all were down (at most "
        f"{RECOVERY_S:g} s)",
        highlight=False,
    )


def whole(outcomes: Outcomes, published: set[str], lag: int) -> list[str]:
    """What must hold over all of it."""
    lost, doubled = outcomes.lost(published), outcomes.doubled()
    letters = Counter(
        (one["reason"], one["error_code"])
        for found in outcomes.dead_letters.values()
        for one in found
    )
    return [
        *([f"{len(lost)} intents lost: {sorted(lost)[:3]}"] if lost else []),
        *([f"{len(doubled)} with two outcomes"] if doubled else []),
        *([f"dead letters for the provider's fault: {dict(letters)}"] if letters else []),
        *([f"lag {lag}"] if lag else []),
    ]


def main() -> None:
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="make outage")
    parser.add_argument("--json", action="store_true", help="print the lines as JSON too")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 170)
    with running_stack(workers=WORKERS, environment=ENVIRONMENT) as running:
        told, published, results = asyncio.run(tell(running, console))
        outcomes = asyncio.run(read_outcomes(running.settings))
        lag = asyncio.run(settled_lag(running.settings))
        calls = read_calls(running.stack.simulator_log).entries
        witness = asyncio.run(witness_of(running.settings, calls))
        alerts = asyncio.run(_alerts(running.settings))
    lines = [judge(one, calls, results, witness) for one in told]
    show(console, lines)
    problems = [*whole(outcomes, published, lag)]
    problems += [f"{line.name}: {line.verdict}" for line in lines if line.verdict != "ok"]
    console.print(
        f"{len(published)} intents, {len(outcomes.results)} results, "
        f"{len(outcomes.dead_letters)} dead letters; alerts: {alerts}",
        highlight=False,
    )
    if options.json:
        console.print_json(json.dumps([vars(line) for line in lines]))
    console.print("; ".join(problems) or "all of it holds", highlight=False)
    sys.exit(1 if problems else 0)


async def _alerts(settings: Settings) -> dict[str, int]:
    found: Counter[str] = Counter()
    async for record in read_topic(settings, settings.topics.alerts):
        alert = json.loads(record.value or b"{}")
        found[f"{alert['name']} {'over' if alert['resolved'] else 'raised'}"] += 1
    return dict(found)


if __name__ == "__main__":
    main()
