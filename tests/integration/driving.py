"""Driving the stack as its users do: publish, wait for outcomes, look into the simulator's log."""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from streams.publishing.intents import open_producer
from tests.chaos.oracle import Outcomes
from tests.chaos.running import RunningStack

__all__ = ["Case", "eventually", "soon"]


def eventually(
    look: Callable[[], Any], holds: Callable[[Any], bool], *, within_s: float = 60
) -> Any:
    """Poll until a condition holds; fails with what was seen last."""
    deadline = time.monotonic() + within_s
    while True:
        seen = look()
        if holds(seen):
            return seen
        assert time.monotonic() < deadline, f"it did not become so within {within_s} s: {seen}"
        time.sleep(0.1)


async def soon(
    look: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool], *, within_s: float = 60
) -> Any:
    """Poll on the running loop until a condition holds; fails with what was seen last."""
    deadline = time.monotonic() + within_s
    while not holds(seen := await look()):
        assert time.monotonic() < deadline, f"it did not become so within {within_s} s: {seen}"
        await asyncio.sleep(0.05)
    return seen


class Case:
    """The intents of one test, told apart from all others by their ids."""

    def __init__(self, stack: RunningStack) -> None:
        self.stack = stack
        self.name = uuid.uuid4().hex[:10]
        self._count = 0

    def intent(self, data: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        self._count += 1
        identifier = f"{self.name}-{self._count}"
        return {
            "intent_id": identifier,
            "type": "message_generation",
            "user_id": "u-1",
            "data": {"marker": identifier, **(data or {})},
            **changes,
        }

    def publish(self, *intents: dict[str, Any], headers: dict[str, bytes] | None = None) -> None:
        asyncio.run(
            self._send(
                [
                    (json.dumps(one).encode(), str(one.get("deduplication_id") or one["intent_id"]))
                    for one in intents
                ],
                headers or {},
            )
        )

    def publish_raw(self, value: bytes | None, *, key: str, headers: dict[str, bytes]) -> None:
        asyncio.run(self._send([(value, key)], headers))

    async def _send(
        self, records: Iterable[tuple[bytes | None, str]], headers: dict[str, bytes]
    ) -> None:
        async with open_producer(self.stack.settings) as client:
            sent = [
                await client.send(
                    self.stack.settings.topics.intents,
                    value=value,
                    key=key.encode(),
                    headers=list(headers.items()),
                )
                for value, key in records
            ]
            await asyncio.gather(*sent)

    def outcomes(self) -> Outcomes:
        """Results and dead letters of this case only."""
        everything = self.stack.following.outcomes()
        mine = Outcomes()
        for source, into in (
            (everything.results, mine.results),
            (everything.dead_letters, mine.dead_letters),
        ):
            for intent_id, documents in source.items():
                if intent_id.startswith(self.name):
                    into[intent_id] = list(documents)
        return mine

    def wait(self, count: int, *, within_s: float = 60) -> Outcomes:
        """Wait until the case has `count` outcomes."""
        return eventually(self.outcomes, lambda found: found.count() >= count, within_s=within_s)

    def result(self) -> dict[str, Any]:
        found = self.wait(1)
        assert not found.dead_letters, found.dead_letters
        return next(iter(found.results.values()))[0]

    def dead_letter(self, *, within_s: float = 60) -> dict[str, Any]:
        found = self.wait(1, within_s=within_s)
        assert not found.results, found.results
        return next(iter(found.dead_letters.values()))[0]

    def calls(self, provider: str | None = None) -> list[dict[str, Any]]:
        """The simulator's log of this case."""
        return [
            entry
            for entry in self.stack.calls()
            if entry["intent"].startswith(self.name) and provider in {None, entry["provider"]}
        ]
