"""What is published while faults happen: intents, repeats, transactions, and records that are none."""

import asyncio
import json
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.settings import Settings
from streams.kafka.clients import producer

__all__ = ["Published", "TrafficPlan", "intent", "publish"]

TYPES = ("content_planning", "campaign_execution", "content_validation", "message_generation")
#: Intents in one transaction of an upstream system.
TRANSACTION = 20
POISON = (None, b"", b"\xff\x00\xfe", b"[1, 2", b'{"type": 7}', b"[" * 5000 + b"]" * 5000)


@dataclass(frozen=True)
class TrafficPlan:
    """How many intents a second, and which share of them is out of the ordinary."""

    intents: int = 2_000
    rate: float = 150.0
    #: Share of intents published two or three times, at once or up to a second apart.
    repeated: float = 0.0
    #: Share of intents published in transactions; as many more are published and aborted.
    in_transactions: float = 0.0
    #: Records that are no intents, beside the intents, as a share of them.
    poison: float = 0.0


@dataclass
class Published:
    """What went out, by what must become of it."""

    intents: set[str] = field(default_factory=set)  # one outcome each
    aborted: set[str] = field(default_factory=set)  # no outcome, no call
    poison: int = 0  # one dead letter each

    @property
    def count(self) -> int:
        """The outcomes that must come."""
        return len(self.intents) + self.poison


def intent(number: int, *, prefix: str) -> tuple[str, bytes]:
    """One intent with a marker by which the simulator's log knows it."""
    identifier = f"{prefix}-{number:06d}"
    document = {
        "intent_id": identifier,
        "type": TYPES[number % len(TYPES)],
        "user_id": f"user-{number % 50}",
        "tenant": f"tenant-{number % 5}",
        "data": {"marker": identifier},
    }
    return identifier, json.dumps(document).encode()


async def publish(plan: TrafficPlan, settings: Settings, into: Published, *, seed: int) -> None:
    """Publish at the plan's rate, however often the broker is away."""
    dice = random.Random(f"traffic/{seed}")
    begin = time.monotonic()
    batch: list[tuple[str, bytes]] = []
    pending: set[asyncio.Task[None]] = set()

    def spawn(coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        pending.add(task)
        task.add_done_callback(pending.discard)

    async with Sender(settings) as client:
        for number in range(plan.intents):
            identifier, value = intent(number, prefix=f"c{seed}")
            into.intents.add(identifier)
            if dice.random() < plan.in_transactions:
                batch.append((identifier, value))
                if len(batch) == TRANSACTION:
                    spawn(_transactions(settings, batch, into))
                    batch = []
            else:
                spawn(client.send(identifier, value))
                if dice.random() < plan.repeated:
                    for _ in range(dice.choice((1, 2))):
                        wait = dice.choice((0.0, dice.random()))
                        spawn(client.send(identifier, value, after_s=wait))
            if dice.random() < plan.poison:
                into.poison += 1
                spawn(client.send(f"poison-{number}", dice.choice(POISON)))
            ahead = begin + number / plan.rate - time.monotonic()
            if ahead > 0:
                await asyncio.sleep(ahead)
        if batch:
            await _transactions(settings, batch, into)
        await asyncio.gather(*pending)


class Sender:
    """An upstream system's producer, made anew when it fails.

    An idempotent producer of aiokafka that gave up one batch has a gap in its sequence, and every
    later write to that partition is refused.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: AIOKafkaProducer | None = None
        self._renewing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            with suppress(Exception):
                await asyncio.wait_for(self._client.stop(), 5)

    async def send(self, identifier: str, value: bytes | None, *, after_s: float = 0.0) -> None:
        """Send until the broker has it; a second copy is the same intent and must run once."""
        await asyncio.sleep(after_s)
        topic = self._settings.topics.intents
        while True:
            client = self._client
            try:
                if client is not None:
                    # Bounded: one that was stopped leaves its last futures unanswered.
                    async with asyncio.timeout(45):
                        await client.send_and_wait(topic, value=value, key=identifier.encode())
                    return
            except (KafkaError, TimeoutError):
                await asyncio.sleep(0.5)
            await self._renew(client)

    async def _renew(self, failed: AIOKafkaProducer | None) -> None:
        """Replace a producer that failed, once for all who wait for it."""
        async with self._renewing:
            if self._client is not failed:
                return
            if failed is not None:
                with suppress(Exception):
                    await asyncio.wait_for(failed.stop(), 5)
            client = producer(self._settings, linger_ms=5)
            try:
                await asyncio.wait_for(client.start(), 20)
            except (KafkaError, TimeoutError, OSError):
                await client.stop()
                self._client = None
            else:
                self._client = client


async def _transactions(
    settings: Settings, batch: list[tuple[str, bytes]], into: Published
) -> None:
    """Publish a batch in a transaction that commits, after one with other intents that aborts."""
    never = [(f"aborted-{name}", value.replace(name.encode(), f"aborted-{name}".encode()))
             for name, value in batch]  # fmt: skip
    into.aborted.update(name for name, _ in never)
    for records, commits in ((never, False), (batch, True)):
        while not await _transaction(settings, records, commits=commits):
            await asyncio.sleep(0.5)


async def _transaction(
    settings: Settings, records: list[tuple[str, bytes]], *, commits: bool
) -> bool:
    client = producer(settings, transactional_id=f"upstream-{records[0][0]}")
    try:
        async with asyncio.timeout(30):
            await client.start()
            await client.begin_transaction()
            sent = [
                await client.send(settings.topics.intents, value=value, key=name.encode())
                for name, value in records
            ]
            # aiokafka commits a transaction of which a batch was given up, as if it had not been.
            await asyncio.gather(*sent)
            await (client.commit_transaction() if commits else client.abort_transaction())
    except (KafkaError, TimeoutError):
        return False
    finally:
        with suppress(Exception):
            await asyncio.wait_for(client.stop(), 5)
    return True
