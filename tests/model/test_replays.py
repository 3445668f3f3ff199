"""The same dead letter, replayed on several days, runs once."""

import asyncio
import json
from dataclasses import replace
from uuid import UUID

import pytest

from agents.task import Deferred
from schemas.events import DeferralState
from schemas.topics import REPLAYS_KEPT_MS
from streams.lanes.job import Delivery
from streams.lanes.outcome_records import outcome_records
from streams.lanes.replays import SLICE, Replays
from streams.lanes.verdicts import internal
from streams.messages.identity import identify
from streams.messages.records import (
    INTENT_ID_HEADER,
    REPLAY_COUNT_HEADER,
    REPLAYED_HEADER,
    Incoming,
)
from tests.builders import NOW, NOW_MS, an_incoming, an_intent
from tests.model.test_lane_model import TOPICS, ModelWorker
from tests.model.test_suspects import World, pending, settle

DAY_S = 86_400
LETTER, OTHER_LETTER = (f"01890a5d-ac96-774b-bcce-b302099a805{number}" for number in (1, 2))


def a_replay(world: World, offset: int, *, letter: str = LETTER, value: bytes = b"") -> Incoming:
    document = {"type": "message_generation", "user_id": "u", "data": {}, "tenant": "acme"}
    return replace(
        an_incoming(value or json.dumps(document).encode()),
        topic=TOPICS.intents,
        offset=offset,
        timestamp_ms=world.clock.now_ms(),
        headers=(
            (REPLAY_COUNT_HEADER, b"1"),
            (REPLAYED_HEADER, letter.encode()),
            (INTENT_ID_HEADER, b"i-1"),
        ),
    )


def offer(worker: ModelWorker, incoming: Incoming) -> None:
    worker.position.deliver(incoming.offset)
    worker.lane.offer(Delivery(incoming, worker.position), lambda: None)


async def a_day_with_a_replay(world: World, incoming: Incoming) -> list[str]:
    """A worker takes over, the dead letter is replayed, and what is called is answered."""
    world.broker.horizon = world.clock.now_ms
    worker = await world.worker()
    offer(worker, incoming)
    await settle()
    called = list(pending(worker))
    for answer in pending(worker).values():
        answer.set_result(None)
    await settle()
    assert worker.position.committable() == incoming.offset + 1
    world.clock.advance(2 * DAY_S)
    return called


def test_the_same_dead_letter_replayed_on_three_days_runs_once() -> None:
    world = World()

    async def run() -> list[list[str]]:
        return [await a_day_with_a_replay(world, a_replay(world, day)) for day in range(3)]

    assert asyncio.run(run()) == [["i-1"], [], []]
    assert world.broker.results() == {"i-1": 1}


def test_another_dead_letter_of_the_same_intent_runs() -> None:
    world = World()

    async def run() -> list[list[str]]:
        letters = (LETTER, OTHER_LETTER)
        return [
            await a_day_with_a_replay(world, a_replay(world, day, letter=letter))
            for day, letter in enumerate(letters)
        ]

    assert asyncio.run(run()) == [["i-1"], ["i-1"]]


def test_a_replay_that_cannot_be_read_ends_once_too() -> None:
    world = World()

    async def run() -> None:
        for day in range(2):
            await a_day_with_a_replay(world, a_replay(world, day, value=b"no json"))

    asyncio.run(run())
    assert world.dead() == {"i-1": 1}


@pytest.mark.parametrize("letter", ["d", LETTER])
def test_a_header_of_a_stranger_loses_no_intent_and_no_dead_letter(letter: str) -> None:
    world = World()

    async def run() -> list[list[str]]:
        called = []
        for number in range(4):
            value = {
                "type": "message_generation",
                "user_id": "u",
                "data": {},
                "intent_id": f"n-{number}",
            }
            incoming = a_replay(world, number, letter=letter, value=json.dumps(value).encode())
            called.append(await a_day_with_a_replay(world, incoming))
        for number in range(4, 6):
            unreadable = a_replay(world, number, letter=letter, value=b"no json")
            headers = unreadable.headers[:2]  # whose id it says is left out
            await a_day_with_a_replay(world, replace(unreadable, headers=headers))
        return called

    assert asyncio.run(run()) == [["n-0"], ["n-1"], ["n-2"], ["n-3"]]
    assert sorted(world.dead().values()) == [1, 1]


def test_a_replay_is_decided_by_its_end_and_not_by_a_deferral() -> None:
    incoming = a_replay(World(), 1, value=an_intent().to_json())
    who = identify(incoming, max_bytes=10_000).who
    state = DeferralState(
        due_at_ms=NOW_MS, count=1, hop=1, reason="x", intent_id="i-1", source=incoming.source
    )

    def written(outcome: Deferred | object) -> list[str]:
        decided = outcome_records(
            TOPICS, incoming, who, outcome,  # type: ignore[arg-type]
            lane=3, outcome_id="o", worker="w", group="g", now=NOW,
        )  # fmt: skip
        return [one.topic for one in decided.records if one.topic == TOPICS.replays]

    assert written(Deferred(0, state)) == []
    assert written(internal("x")) == [TOPICS.replays]


def test_replays_are_forgotten_when_their_dead_letters_are_gone() -> None:
    replays, incoming = Replays(), a_replay(World(), 1)
    for number in range(SLICE + 1):
        letter = replace(incoming, headers=((REPLAYED_HEADER, str(UUID(int=number)).encode()),))
        replays.note(identify(letter, max_bytes=10_000).who, NOW_MS)
    replays.note(identify(incoming, max_bytes=10_000).who, NOW_MS + 1)
    replays.note(identify(an_incoming(), max_bytes=10_000).who, NOW_MS)  # no replay
    assert replays.prune(now_ms=NOW_MS + REPLAYS_KEPT_MS)
    assert not replays.prune(now_ms=NOW_MS + REPLAYS_KEPT_MS)
    assert len(replays) == 1
    assert replays.knows(identify(incoming, max_bytes=10_000).who)
