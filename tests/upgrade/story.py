"""The story of an upgrade and of the way back: what is changed when, and what is published meanwhile.

At each step parts change their version under traffic, while both providers are down: what waits
then was put off by one version and is done by the other. At rest, old ground is gone over again:
repeats, replays, cached answers, a spent budget, which one version decided and the other must know.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer

from streams.kafka.passing import queued
from streams.publishing.dead_letters import Selection, dead_letters, replayed_record
from streams.publishing.intents import open_producer
from tests.chaos.running import RunningStack
from tests.chaos.traffic import TYPES, Published, TrafficPlan, publish
from tests.chaos.watch import OutcomeWatch
from tests.upgrade.mixed import MixedStack, StuckError, until

__all__ = ["CONFIG", "STEPS", "Step", "Story", "Told"]

WORKERS = ("worker-0", "worker-1", "worker-2")
DOWN: dict[str, Any] = {"always": "503", "latency_ms": 20}
REFUSING: dict[str, Any] = {"always": "400", "latency_ms": 20}
FINE: dict[str, Any] = {"latency_ms": 120}
#: Intents that the outage of a step puts off, letters, cached answers, repeats: of each so many.
PUT_OFF, LETTERS, CACHED, REPEATS = 30, 6, 6, 60
SETTLE_S = 240
#: One answer spends it.
CONFIG = """
[[budgets]]
tenant = "spender"
per = "month"
usd = 0.0000001
hold = false
then = "dead_letter"
"""


@dataclass(frozen=True)
class Step:
    """Which parts change their version, and to which."""

    name: str
    parts: tuple[str, ...] = ()
    to_last: bool = True
    #: Whether a rollout begins here: the version that comes sets up topics and tables first.
    begins: bool = False
    #: Whether all are of one version after it: the old ground is gone over.
    whole: bool = False


STEPS = (
    Step("all of the last version", whole=True),
    Step("up: one worker of three", WORKERS[:1], to_last=False, begins=True),
    Step("up: all, recorder too", (*WORKERS[1:], "recorder"), to_last=False, whole=True),
    Step("down: one worker of three", WORKERS[:1], begins=True),
    Step("down: all, recorder too", (*WORKERS[1:], "recorder"), whole=True),
)


@dataclass
class Told:
    """A step as it happened; moments are wall times."""

    step: Step
    begin: float
    published: int = 0
    end: float = 0.0


@dataclass
class Story:
    """Plays the steps; what must have become of each intent is kept."""

    running: RunningStack
    stack: MixedStack
    watch: OutcomeWatch
    say: Callable[[str], None]
    seed: int
    intents: int
    published: Published = field(default_factory=Published)
    told: list[Told] = field(default_factory=list)
    #: Intents that ended as dead letters, were replayed, and have a result beside it.
    replayed: set[str] = field(default_factory=set)
    #: Answers that must come from the cache, and intents that a spent budget must end.
    cached: set[str] = field(default_factory=set)
    over_budget: set[str] = field(default_factory=set)
    #: Published again after they had been decided.
    repeats: int = 0

    async def tell(self) -> None:
        """Play all steps; raises StuckError."""
        watching = asyncio.create_task(self.watch.follow())
        try:
            async with open_producer(self.running.settings) as client:
                for number, step in enumerate(STEPS):
                    self.told.append(now := Told(step, time.time()))
                    self.say(f"{number + 1}. {step.name}")
                    before = len(self.published.intents)
                    await self._play(client, number, step)
                    now.published, now.end = len(self.published.intents) - before, time.time()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _play(self, client: AIOKafkaProducer, number: int, step: Step) -> None:
        self._set_faults(FINE)
        traffic = asyncio.create_task(self._traffic(number * 2))
        if step.begins:
            await asyncio.to_thread(self.stack.set_up, of_last=step.to_last)
        if step.parts:
            self._set_faults(DOWN)
            put_off = self._deferrals()
            await self._publish(client, f"d{number}", PUT_OFF)
            await asyncio.to_thread(
                until, "nothing is put off", lambda: self._deferrals() >= put_off + PUT_OFF
            )
        for part in step.parts:
            await asyncio.to_thread(self.stack.change, self.running, part, to_last=step.to_last)
            self._set_faults(FINE)
        await traffic
        await self._traffic(number * 2 + 1)  # all that run are ready: each does its share
        await self._decided(self.published.intents, f"step {number + 1} does not end")
        if step.whole:
            await self._old_ground(client, number, step)

    async def _traffic(self, half: int) -> None:
        """Publish one of a step's halves at a steady rate, with repeats, transactions, poison."""
        plan = TrafficPlan(
            intents=self.intents // 2, rate=40, repeated=0.05, in_transactions=0.05, poison=0.005
        )
        settings, seed = self.running.settings, self.seed * 100 + half
        await publish(plan, settings, self.published, seed=seed)

    async def _old_ground(self, client: AIOKafkaProducer, number: int, step: Step) -> None:
        """Go over what the other version decided, and leave something for the next one."""
        await self._repeat(client)
        await self._replay(number, step)
        await self._refuse(client, number)
        key = "cached" if number else "first"
        found = await self._publish(
            client, f"{key}{number}", CACHED, cache=True, tenant="cached", type="content_validation",
            data=lambda one: {"marker": f"answer-{one}"},
        )  # fmt: skip
        spent = await self._publish(client, f"spend{number}", 1, tenant="spender")
        if number:
            self.cached |= found
            self.over_budget |= spent
        await self._decided(found | spent, "cached answers and budgets")

    async def _repeat(self, client: AIOKafkaProducer) -> None:
        """Publish intents of the steps before again: they are decided."""
        for number in range(len(self.told) - 1):
            for one in range(REPEATS):
                name = f"c{self.seed * 100 + number * 2}-{one:06d}"
                document = {"type": "content_planning", "user_id": "again", "intent_id": name,
                            "tenant": f"tenant-{one % 5}", "data": {"marker": name}}  # fmt: skip
                await self._send(client, name, document)
                self.repeats += 1

    async def _refuse(self, client: AIOKafkaProducer, number: int) -> None:
        """Have the provider refuse some intents: dead letters, for the next version to replay."""
        self._set_faults(REFUSING)
        refused = await self._publish(
            client, f"refused{number}", LETTERS, tenant=f"letters-{number}"
        )
        await self._decided(refused, "refused intents")
        self._set_faults(FINE)

    async def _replay(self, number: int, step: Step) -> None:
        """Replay the dead letters of the version before, by this one's command; then once more."""
        settings = self.running.settings
        for before in range(number):
            if not STEPS[before].whole:
                continue
            names = {f"refused{before}-{one:06d}" for one in range(LETTERS)}
            selection = Selection(tenant=f"letters-{before}")
            if not names & self.replayed:
                command = ("dlq", "replay", "--tenant", f"letters-{before}", "--yes")
                await asyncio.to_thread(self.stack.run, *command, of_last=step.to_last)
                await self._results(names)
                self.replayed |= names
            # The command leaves out what has been replayed; a lane must know it by itself.
            async with open_producer(settings) as client:
                async for letter in dead_letters(settings, selection):
                    record = replayed_record(letter, settings.topics)
                    await (await queued(client, record, record.headers))
                    self.repeats += 1

    async def _publish(
        self,
        client: AIOKafkaProducer,
        prefix: str,
        count: int,
        *,
        data: Callable[[int], dict[str, Any]] | None = None,
        **fields: Any,
    ) -> set[str]:
        """Publish some intents that are alike; gives their ids."""
        names = {f"{prefix}-{number:06d}": number for number in range(count)}
        for name, number in names.items():
            document = {
                "intent_id": name,
                "type": TYPES[number % len(TYPES)],
                "user_id": "upgrade",
                "data": data(number) if data else {"marker": name},
                **fields,
            }
            await self._send(client, name, document)
        self.published.intents.update(names)
        return set(names)

    async def _send(self, client: AIOKafkaProducer, key: str, document: dict[str, Any]) -> None:
        topic = self.running.settings.topics.intents
        await client.send_and_wait(topic, json.dumps(document).encode(), key.encode())

    async def _decided(self, names: set[str], otherwise: str) -> None:
        await self._come(lambda: self.watch.missing(names), otherwise)

    async def _results(self, names: set[str]) -> None:
        await self._come(lambda: self.watch.missing(names, results=True), "replays have no results")

    async def _come(self, missing: Callable[[], set[str]], otherwise: str) -> None:
        deadline = time.monotonic() + SETTLE_S
        while found := missing():
            if time.monotonic() > deadline:
                message = f"{otherwise}: {len(found)} missing, such as {sorted(found)[:3]}"
                raise StuckError(message)
            await asyncio.sleep(0.1)

    def _set_faults(self, fault: dict[str, Any]) -> None:
        self.running.set_faults({"openai": fault, "azure": fault})

    def _deferrals(self) -> int:
        """How often the workers that run have put an intent off."""
        return sum(self.running.outcomes(number)["deferred"] for number in range(len(WORKERS)))
