"""What becomes of the lines of a file when a broker does not confirm some of them."""

import asyncio
import json
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, OutOfOrderSequenceNumber

from schemas.settings import Settings
from streams.publishing import intents
from streams.publishing.intents import BadLine, Publication, publish_lines


class GapProducer:
    """As aiokafka's idempotent one: after a batch that has expired nothing more is taken."""

    made: list["GapProducer"]

    def __init__(self, expires: set[str]) -> None:
        self._expires = expires
        self._gap = False
        self.taken: list[str] = []
        GapProducer.made.append(self)

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def send(self, _topic: str, *, value: bytes, key: bytes) -> asyncio.Future[object]:
        assert key
        name = json.loads(value)["intent_id"]
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if name in self._expires:
            self._gap = True
            future.set_exception(KafkaTimeoutError())
        elif self._gap:
            future.set_exception(OutOfOrderSequenceNumber())
        else:
            self.taken.append(name)
            future.set_result(object())
        return future


def publish(
    monkeypatch: pytest.MonkeyPatch, count: int, expires: set[str]
) -> tuple[Publication | None, list[BadLine]]:
    async def there(*_: Any) -> None:
        pass

    bad: list[BadLine] = []
    GapProducer.made = []
    monkeypatch.setattr(intents, "producer", lambda *_, **__: GapProducer(expires))
    monkeypatch.setattr(intents, "require_there", there)
    monkeypatch.setattr(intents, "WINDOW", 4)
    lines = [
        json.dumps(
            {"type": "message_generation", "user_id": "u", "data": {}, "intent_id": f"i-{number}"}
        ).encode()
        for number in range(count)
    ]
    published = publish_lines(Settings(), lines, on_bad=bad.append, on_progress=lambda _: None)
    try:
        return asyncio.run(published), bad
    except KafkaTimeoutError:
        return None, bad


def test_a_batch_that_expires_is_told_by_its_lines_and_the_rest_is_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done, bad = publish(monkeypatch, 40, {"i-9"})
    taken = [name for one in GapProducer.made for name in one.taken]
    assert done is not None
    assert (done.published, done.bad) == (len(taken), len(bad))
    assert done.published + done.bad == 40
    assert len(set(taken)) == len(taken) >= 40 - 4, "only what was on its way beside it is lost"
    assert {f"i-{line.number - 1}" for line in bad} | set(taken) == {f"i-{n}" for n in range(40)}
    assert "KafkaTimeoutError" in bad[0].problem
    assert "may have it" in bad[0].problem


def test_what_no_producer_gets_confirmed_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    done, bad = publish(monkeypatch, 1000, {f"i-{number}" for number in range(1000)})
    assert done is None
    assert len(bad) < 20
