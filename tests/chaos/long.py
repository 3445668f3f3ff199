"""`make outage HOURS=n`: outages of days, by a clock that is moved.

Two stories, each on a stack of its own. A budget that stays spent for n hours: the intents over it hop
from deferred topic to deferred topic, at least once in ten minutes, and end when the month does.
Both providers down for half as long, and a worker killed every hour: what waits, waits; what is decided
meanwhile (records that are no intents) is decided once, also when its memory is older than a day.

Only the wall clock of the parts is moved. What is monotonic (breakers, leases, time limits, the wait of a
deferred record, here 0.4 s) goes on as it does; the broker has the real time, so it is told to take
records from the future.
"""

import argparse
import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from streams.kafka.clients import admin_client
from streams.publishing.intents import open_producer
from tests.chaos.cluster import set_config
from tests.chaos.oracle import Outcomes, read_calls, read_outcomes, settled_lag
from tests.chaos.running import RunningStack, running_stack
from tests.chaos.traffic import intent
from tests.chaos.watch import OutcomeWatch

HOUR_S = 3600
#: As long as a hop takes by default: so each of them is looked at as often as in the real time.
STEP_S = 600
#: They all cost the same, so that the rest which does not pay for one pays for none of them.
ALIKE = {"tenant": "spender", "type": "message_generation", "user_id": "user"}
LANES = 4
WAITING = 24
BEFORE = 60
MOST_PAID = 200
#: Some dozens of answers spend it; all that waits costs about half of it.
BUDGET = """
[[budgets]]
tenant = "spender"
per = "month"
usd = 0.01
"""
COMMON = {
    # With the contract's flat prices, by which the budget above is reckoned.
    "HYBRID_OPENAI_MODEL": "gpt-3.5-turbo",
    "HYBRID_AZURE_DEPLOYMENT": "gpt-4-turbo",
    "HYBRID_DEFER_DELAYS": "0.1,0.2,0.4",
    "HYBRID_BREAKER_CALLS": "20",  # the default
    # As with the default, longer than an execution waits in its slot: with a shorter time all that
    # waits is in flight at every kill, and an hour here is a few seconds.
    "HYBRID_BREAKER_OPEN": "6",
}
#: Of a topic: how far ahead of the broker's clock a record may be; an hour by default.
AHEAD = "message.timestamp.after.max.ms"
SETTLE_S = 120.0
MOST_GROWTH_MB = 24
FINE: dict[str, Any] = {"latency_ms": 20}
DOWN: dict[str, Any] = {"latency_ms": 20, "always": "503"}


class StuckError(Exception):
    """Raised when a story cannot go on; says why."""


@dataclass
class Story:
    """A stack whose clock is moved, and what was published and seen."""

    running: RunningStack
    client: AIOKafkaProducer
    watch: OutcomeWatch
    say: Callable[[str], None]
    published: set[str] = field(default_factory=set)
    invalid: int = 0
    ahead_s: float = 0.0
    memory_mb: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _partitions: Iterator[int] = field(default_factory=lambda: cycle(range(LANES)))

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.ahead_s += seconds
        self.running.set_clock(self.ahead_s)

    def now_ms(self) -> int:
        """The time of the story."""
        return int((time.time() + self.ahead_s) * 1000)

    async def publish(self, count: int, *, invalid: int = 0, **fields: Any) -> None:
        """Publish intents, and records that are none, each with the story's own time."""
        for _ in range(count):
            name, value = intent(len(self.published), prefix="long")
            self.published.add(name)
            await self._send(name, json.dumps({**json.loads(value), **fields}).encode())
        for _ in range(invalid):
            self.invalid += 1
            await self._send(f"invalid-{self.invalid}", b'{"type": 7}')

    async def _send(self, key: str, value: bytes) -> None:
        await self.client.send_and_wait(
            self.running.settings.topics.intents,
            value,
            key.encode(),
            partition=next(self._partitions),
            timestamp_ms=self.now_ms(),
        )

    async def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Poll until something holds; raises StuckError when it does not."""
        deadline = time.monotonic() + SETTLE_S
        while not await asyncio.to_thread(holds):
            if time.monotonic() > deadline:
                raise StuckError(what)
            await asyncio.sleep(0.05)

    async def decided(self, count: int, otherwise: str) -> None:
        """Wait for so many outcomes; raises StuckError, with what it means that they do not come."""
        await self.until(otherwise, lambda: self.watch.count >= count)

    def sample(self) -> None:
        """Note the memory of the largest worker."""
        self.memory_mb.append(max(resident_mb(pid) for pid in self.running.pids()))

    def deferrals(self) -> int:
        """How often workers have put an intent aside."""
        return sum(self.running.outcomes(number)["deferred"] for number in (0, 1))

    def ready(self) -> bool:
        return all(map(self.running.ready, (0, 1)))


def resident_mb(pid: int) -> float:
    """A process's resident memory; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0.0
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


async def budget(story: Story, *, hours: int) -> None:
    """Spend a month's budget n hours before the month ends; look at it again at every step."""
    ends = month_end(datetime.now(UTC) + timedelta(hours=hours + 1))
    begins = ends - timedelta(hours=hours)
    story.move((begins - datetime.now(UTC)).total_seconds())
    paid = await spend(story)
    await story.publish(WAITING - 1, **ALIKE)
    steps = int(hours * HOUR_S / STEP_S)
    for step in range(1, steps + 1):
        # Of another tenant, to each lane: a worker looks at what waits when something comes.
        await story.publish(LANES)
        await story.decided(paid + step * LANES, "others are held up")
        await story.until(
            f"not all of {WAITING} are put aside", lambda step=step: story.deferrals() >= WAITING * step
        )  # fmt: skip
        if step % 6 == 0:
            story.sample()
        if step % 60 == 0:
            story.say(f"  {step * STEP_S / HOUR_S:.0f} h: {story.deferrals()} times put aside")
        story.move(STEP_S)
    early = [one for one in read_calls(story.running.stack.simulator_log).entries
             if one["status"] == 200]  # fmt: skip
    if len(early) != paid + steps * LANES:
        story.problems.append(f"{len(early)} answers paid while the budget was spent")
    story.move(2 * STEP_S)
    await story.publish(LANES)
    await story.decided(len(story.published), "not all ended")


async def spend(story: Story) -> int:
    """Spend the budget, an intent at a time, until one of them waits; gives how many were paid."""
    for paid in range(MOST_PAID):
        await story.publish(1, **ALIKE)
        await story.until(
            "neither answered nor put aside",
            lambda paid=paid: story.deferrals() or story.watch.count > paid,
        )
        if story.deferrals():
            return paid
    message = "the budget is not spent"
    raise StuckError(message)


async def down(story: Story, *, hours: int) -> None:
    """Have both providers down for n hours, and kill a worker in each of them."""
    await story.publish(BEFORE, invalid=2)
    await story.decided(BEFORE + 2, "the first are not decided")
    story.running.set_faults({"openai": DOWN, "azure": DOWN})
    await story.publish(WAITING)
    for hour in range(1, hours + 1):
        await story.publish(2, invalid=2)
        await story.decided(BEFORE + story.invalid, "invalid records wait")
        pid = story.running.pids()[hour % 2]
        os.kill(pid, signal.SIGKILL)
        story.move(HOUR_S)
        await story.until("a worker did not come back", lambda pid=pid: pid not in story.running.pids())  # type: ignore[misc]  # fmt: skip
        await story.until("a worker is not ready", story.ready)
        story.sample()
        if hour % 10 == 0:
            story.say(f"  {hour} h: {story.watch.count} decided")
    story.running.set_faults({"openai": FINE, "azure": FINE})
    await story.decided(len(story.published) + story.invalid, "not all ended")


def month_end(moment: datetime) -> datetime:
    """The first moment of the month after."""
    later = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)
    return later.replace(day=1)


def whole(story: Story, outcomes: Outcomes, repeated: int, lag: int) -> list[str]:
    """What must hold over all of it: each ended once, nothing decided ran again, memory flat."""
    lost, doubled = outcomes.lost(story.published), outcomes.doubled()
    letters = [one for found in outcomes.dead_letters.values() for one in found]
    invalid = [one for one in letters if one["reason"] == "invalid_intent"]
    others = Counter(
        (one["reason"], one["error_code"]) for one in letters if one["reason"] != "invalid_intent"
    )
    third = len(story.memory_mb) // 3
    grown = max(story.memory_mb[-third:]) - max(story.memory_mb[third : 2 * third]) if third else 0
    return [
        *story.problems,
        *([f"{len(lost)} intents lost: {sorted(lost)[:3]}"] if lost else []),
        *([f"{len(doubled)} with two outcomes: {sorted(doubled)[:3]}"] if doubled else []),
        *([f"{len(invalid)} dead letters for {story.invalid} invalid records"]
          if len(invalid) != story.invalid else []),
        *([f"dead letters for the provider's fault: {dict(others)}"] if others else []),
        *([f"{repeated} answers paid twice"] if repeated else []),
        *([f"memory grew by {grown:.0f} MB over the last third"] if grown > MOST_GROWTH_MB else []),
        *([f"lag {lag}"] if lag else []),
    ]  # fmt: skip


STORIES = {"budget": budget, "down": down}


async def tell(
    name: str, running: RunningStack, *, hours: int, say: Callable[[str], None]
) -> Story:
    """Play one story, and judge it."""
    async with admin_client(running.settings) as admin:
        for spec in running.settings.topics.specs():
            await set_config(admin, spec.name, AHEAD, str(2**63 - 1))
    watch = OutcomeWatch(running.settings)
    running.set_faults({"openai": FINE, "azure": FINE})
    watching = asyncio.create_task(watch.follow())
    async with open_producer(running.settings) as client:
        story = Story(running, client, watch, say)
        try:
            await STORIES[name](story, hours=hours)
        except StuckError as stuck:
            story.problems.append(f"at {story.ahead_s / HOUR_S:.1f} h: {stuck}")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    calls = read_calls(running.stack.simulator_log)
    outcomes = await read_outcomes(running.settings)
    story.problems = whole(story, outcomes, calls.repeated(), await settled_lag(running.settings))
    if story.problems:
        kept = Path(tempfile.mkdtemp(prefix="hybrid-long-logs-"))
        shutil.copytree(running.stack.folder / "logs", kept, dirs_exist_ok=True)
        say(f"  what its processes said is in {kept}")
    return story


def main() -> None:
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="make outage")
    parser.add_argument("--hours", type=int, default=60)
    parser.add_argument("--story", choices=STORIES, default=None)
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(
        "story", "hours", "intents", "no intents", "memory, first / most / last MB", "s", ""
    )
    config = Path(tempfile.mkdtemp(prefix="hybrid-long-")) / "hybrid.toml"
    config.write_text(BUDGET)
    environment = {**COMMON, "HYBRID_CONFIG": str(config)}
    say = partial(console.print, highlight=False)
    failed = False
    for name, hours in (("budget", options.hours), ("down", options.hours // 2)):
        if options.story not in {None, name}:
            continue
        console.print(f"{name}: {hours} h", highlight=False)
        began = time.monotonic()
        with running_stack(workers=2, environment=environment, partitions=LANES) as running:
            story = asyncio.run(tell(name, running, hours=hours, say=say))
        memory = story.memory_mb or [0.0]
        failed = failed or bool(story.problems)
        table.add_row(
            name,
            str(hours),
            str(len(story.published)),
            str(story.invalid),
            f"{memory[0]:.0f} / {max(memory):.0f} / {memory[-1]:.0f}",
            f"{time.monotonic() - began:.0f}",
            "; ".join(story.problems) or "holds",
        )
    console.print(table)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
