"""An intent's own time: which moments are taken, by which hops it waits, when it is due."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.clock import ManualClock
from agents.deciding.routes import Router
from agents.deciding.schedule import LONGEST_MS, NOT_BEFORE, hop, milliseconds, problem_of
from agents.task import Deferred
from schemas.codec import InvalidIntentError
from schemas.events import DeferralState
from schemas.intent import WorkflowIntent
from schemas.topics import Topics
from schemas.vocabulary import EventName
from streams.lanes.outcome_records import outcome_records
from streams.messages.identity import identify, outline
from streams.messages.records import DEFERRAL_HEADER, Incoming
from streams.worker.read_ahead import FEW_OF_SHORTEST
from tests.builders import NOW, NOW_MS, an_incoming, an_intent
from tests.unit.test_intents import BOTH, as_bytes, decode_intent
from tests.unit.test_worker_rooms import TOPICS, Flow, Gate, a_dispatcher, a_lane

DELAYS = (10.0, 60.0, 600.0)
DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("stated", "moment"),
    [
        ("2026-01-31T09:30:00Z", NOW),
        ("2026-01-31t09:30:00z", NOW),
        ("2026-01-31 10:30:00+01:00", NOW),
        ("2026-01-31T09:30:00.250Z", NOW + timedelta(milliseconds=250)),
        ("2026-01-31T09:30:00.123456789Z", NOW + timedelta(microseconds=123_456)),
    ],
)
def test_a_moment_is_taken_as_rfc_3339_writes_it(stated: str, moment: datetime) -> None:
    value = as_bytes(not_before=stated)
    assert decode_intent(value, max_bytes=1000).not_before == moment
    assert decode_intent(as_bytes(notBefore=stated), max_bytes=1000).not_before == moment
    read = outline(an_incoming(value), BOTH, max_bytes=1000)
    assert read.not_before_ms == milliseconds(moment)
    assert read.is_early(milliseconds(moment) - 1)
    assert not read.is_early(milliseconds(moment))


@pytest.mark.parametrize(
    "stated",
    [
        "tomorrow", "2026-01-31", "2026-01-31T09:30:00", "2026-02-30T09:30:00Z", "09:30:00Z",
        "2026-01-31T25:00:00Z", 1_769_851_800_000, 1_769_851_800.5, True, [], {}, "",
        "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "2026-01-31T09:30:00+99:00",
        "٢٠٢٦-01-31T09:30:00Z",
    ],
)  # fmt: skip
def test_what_is_no_moment_with_its_zone_is_refused_in_a_sentence(stated: Any) -> None:
    with pytest.raises(InvalidIntentError) as caught:
        decode_intent(as_bytes(not_before=stated, intent_id="i"), max_bytes=1000)
    assert caught.value.message == (
        "not_before: Value error, must be a moment with its zone as RFC 3339 writes it: "
        "2026-01-31T09:00:00Z"
    )
    assert caught.value.intent_id == "i"
    assert outline(an_incoming(as_bytes(not_before=stated)), BOTH, max_bytes=1000) is not None


def test_it_may_be_left_out_and_the_client_may_give_pythons_own() -> None:
    assert decode_intent(as_bytes(not_before=None), max_bytes=1000).not_before is None
    assert an_intent(not_before=NOW).not_before == NOW
    assert WorkflowIntent.model_validate(an_intent(not_before=NOW)).to_dict()["not_before"] == (
        "2026-01-31T09:30:00.000Z"
    )
    with pytest.raises(ValueError, match="with its zone"):
        an_intent(not_before=NOW.replace(tzinfo=None))


@settings(max_examples=25)  # each may be of fifty thousand hops
@given(wait_s=st.floats(0.001, LONGEST_MS / 1000))
def test_hops_end_exactly_at_its_time_and_all_but_the_last_are_whole(wait_s: float) -> None:
    left, hops = wait_s, 0
    while left > 0.0005:
        index, waited = hop(DELAYS, left)
        assert waited in {DELAYS[index], left}
        assert waited == DELAYS[index] or index == 0
        left, hops = left - waited, hops + 1
    assert hops <= wait_s // 600 + 9 + 6 + 1
    assert left > -0.001


@pytest.mark.parametrize(
    ("after_ms", "deadline_ms", "said"),
    [
        (0, 1, None),
        (-DAY_MS, 1, None),
        (59_999, 60_000, None),
        (60_000, 60_000, "not_before is not before the deadline"),
        (LONGEST_MS, None, None),
        (LONGEST_MS + 1, None, "more than 366 days"),
    ],
)
def test_a_time_that_cannot_be_kept_is_said(
    after_ms: int, deadline_ms: int | None, said: str | None
) -> None:
    moment = NOW + timedelta(milliseconds=after_ms)
    found = problem_of(moment, published_ms=NOW_MS, deadline_ms=deadline_ms)
    assert (found is None) if said is None else said in (found or "")


def test_a_moment_between_two_milliseconds_has_not_come_at_the_first() -> None:
    assert milliseconds(NOW + timedelta(microseconds=1)) == NOW_MS + 1
    assert milliseconds(NOW) == NOW_MS


def waits(*, reason: str, hop: int, due_in_s: float, until_in_s: float = 0) -> DeferralState:
    return DeferralState(
        due_at_ms=NOW_MS + int(due_in_s * 1000), not_before_ms=NOW_MS + int(until_in_s * 1000),
        count=0, hop=hop, reason=reason, intent_id="i-1", source=an_incoming().source,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        (None, NOT_BEFORE, 1),
        (NOT_BEFORE, NOT_BEFORE, 0),
        (NOT_BEFORE, "rate_limit", 1),
        ("rate_limit", "rate_limit", 1),
    ],
)
def test_that_it_waits_is_said_once_and_until_when(
    before: str | None, after: str, events: int
) -> None:
    topics = Topics("workflow", (10, 60, 600), 86_400)
    incoming = an_incoming(as_bytes(intent_id="i-1"))
    if before is not None:
        state = waits(reason=before, hop=1, due_in_s=0)
        incoming = replace(incoming, topic=topics.deferred[2],
                           headers=((DEFERRAL_HEADER, state.to_json()),))  # fmt: skip
    who = identify(incoming, max_bytes=1000).who
    outcome = Deferred(2, waits(reason=after, hop=2, due_in_s=600, until_in_s=DAY_MS / 1000))
    decided = outcome_records(
        topics, incoming, who, outcome, lane=3, outcome_id="o", worker="w", group="g", now=NOW
    )  # fmt: skip
    said = [one for one in decided.records if one.topic == topics.events]
    assert len(said) == events
    assert all(EventName.WORKFLOW_DEFERRED.encode() in (one.value or b"") for one in said)
    assert all(b'"until":"2026-02-01T09:30:00.000Z"' in (one.value or b"") for one in said)


# ── at the worker ───────────────────────────────────────────────────────────────────────────


def a_last_hop(offset: int, *, due_in_s: float) -> Incoming:
    state = waits(reason=NOT_BEFORE, hop=1, due_in_s=due_in_s)
    return an_incoming(
        b"x", topic=TOPICS.deferred[0], partition=0, offset=offset, key=b"openai",
        headers=((DEFERRAL_HEADER, state.to_json()),),
    )  # fmt: skip


def test_what_is_due_does_not_wait_for_what_stands_before_it() -> None:
    lane, clock, flow = a_lane(), ManualClock(NOW), Flow()
    dispatcher = a_dispatcher(flow, Gate(), clock)
    dispatcher.resume({0: lane})
    for offset in range(FEW_OF_SHORTEST - 1):
        dispatcher.put(a_last_hop(offset, due_in_s=9))
    dispatcher.put(a_last_hop(FEW_OF_SHORTEST - 1, due_in_s=2))
    assert dispatcher._dispatch() == pytest.approx(2)
    assert lane.taken == []
    assert flow.paused == {(TOPICS.deferred[0], 0)}
    clock.advance(2)
    dispatcher._dispatch()
    assert [one.incoming.offset for one in lane.taken] == [FEW_OF_SHORTEST - 1]
    assert dispatcher.waiting == FEW_OF_SHORTEST - 1
    dispatcher.suspend()
    assert dispatcher.waiting == 0


def test_what_is_early_is_put_aside_while_no_provider_can_be_called() -> None:
    lane, clock = a_lane(), ManualClock(NOW)
    dispatcher = a_dispatcher(Flow(), Gate("openai"), clock)
    router = Router({"openai": "openai"})
    dispatcher._outline = lambda one: outline(one, router, max_bytes=1000)
    dispatcher.resume({3: lane})
    soon = (NOW.astimezone(UTC) + timedelta(hours=1)).isoformat()
    dispatcher.put(an_incoming(as_bytes(not_before=soon)))
    dispatcher.put(an_incoming(as_bytes(), offset=8))
    dispatcher._dispatch()
    assert [one.incoming.offset for one in lane.taken] == [7]
