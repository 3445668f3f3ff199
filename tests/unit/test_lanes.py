"""Positions, sharing out, ledger: the pure parts of the lane protocol."""

import tracemalloc
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from schemas.events import LedgerRecord
from schemas.topics import Topics
from schemas.vocabulary import WorkflowStatus
from streams.lanes.ledger import CLOCKS_DIFFER_MS, Ledger
from streams.lanes.reach import horizon_ms
from streams.lanes.replays import SLICE
from streams.membership.lane_assignor import share_out
from streams.messages.offset_tracker import OffsetTracker
from streams.messages.records import start_record
from tests.builders import NOW_MS


class PositionMachine(RuleBasedStateMachine):
    """Whatever comes, in whatever order it is done: nothing undone is ever committed."""

    delivered = Bundle("delivered")

    def __init__(self) -> None:
        super().__init__()
        self.position = OffsetTracker()
        self.undone: set[int] = set()
        self.committed = -1
        self.last = -1

    @rule(target=delivered, gap=st.integers(1, 4))
    def deliver(self, gap: int) -> int:
        """The next record; gaps are transaction markers and aborted records."""
        self.last += gap
        assert self.position.deliver(self.last)
        self.undone.add(self.last)
        return self.last

    @rule(offset=delivered)
    def deliver_again(self, offset: int) -> None:
        assert not self.position.deliver(offset)

    @rule(offset=consumes(delivered))
    def done(self, offset: int) -> None:
        self.position.done(offset)
        self.undone.discard(offset)

    @rule()
    def commit(self) -> None:
        offset = self.position.committable()
        if offset is not None:
            assert offset > self.committed or self.committed == -1
            self.position.committed(offset)
            self.committed = offset

    @invariant()
    def nothing_undone_is_committed(self) -> None:
        offset = self.position.committable()
        reached = self.committed if offset is None else offset
        assert all(one >= reached for one in self.undone)


TestPositions = PositionMachine.TestCase


def test_a_record_that_slipped_in_before_earlier_ones_does_not_lose_them() -> None:
    """Seen under a rolling restart: 50 came before 40 was read again."""
    position = OffsetTracker()
    assert position.deliver(50)
    assert position.deliver(40)
    position.done(50)
    assert position.committable() == 40
    position.done(40)
    assert position.committable() == 51


owners = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.lists(st.integers(0, 30)))


@given(st.integers(0, 30), owners.filter(bool))
def test_lanes_are_shared_out_evenly_and_each_once(count: int, owned: dict[str, list[int]]) -> None:
    shares = share_out(range(count), owned)
    assert sorted(lane for share in shares.values() for lane in share) == list(range(count))
    sizes = [len(share) for share in shares.values()]
    assert max(sizes) - min(sizes) <= 1


def test_a_newcomer_takes_only_its_share() -> None:
    shares = share_out(range(12), {"a": range(6), "b": range(6, 12), "c": []})
    assert set(shares["a"]) < set(range(6))
    assert set(shares["b"]) < set(range(6, 12))
    assert len(shares["c"]) == 4


def test_who_comes_back_alone_gets_everything_and_keeps_what_was_there() -> None:
    assert share_out(range(12), {"a": [1, 2]}) == {"a": list(range(12))}


def a_record(**changes: object) -> LedgerRecord:
    values: dict[str, object] = {
        "outcome_id": "o-1",
        "status": WorkflowStatus.COMPLETED,
        "topic": "workflow.intents",
        "offset": 5,
        "decided_at_ms": 1_000,
    }
    return LedgerRecord.model_validate({**values, **changes})


def test_the_ledger_gives_back_what_was_decided_inside_the_window() -> None:
    ledger = Ledger(sources=("workflow.intents",), window_ms=10_000)
    ledger.put("key", a_record(status=WorkflowStatus.FAILED, replay_count=2))
    entry = ledger.get("key")
    assert entry is not None
    assert (entry.status, entry.replay_count, entry.offset) == (WorkflowStatus.FAILED, 2, 5)
    assert ledger.holds("key", "o-1")
    assert not ledger.holds("key", "o-2")
    assert not ledger.is_over(entry, at_ms=10_999)
    assert ledger.is_over(entry, at_ms=11_000)


def test_a_deferred_intent_is_not_forgotten_when_the_window_ends() -> None:
    ledger = Ledger(sources=("workflow.intents",), window_ms=10_000)
    ledger.put("key", a_record(status=WorkflowStatus.DEFERRED, deferrals=1))
    ledger.put("other", a_record())
    ledger.advance(1_000_000)
    ledger.prune()
    assert ledger.get("other") is None
    entry = ledger.get("key")
    assert entry is not None
    assert not ledger.is_over(entry, at_ms=1_000_000)


def test_nothing_is_forgotten_that_an_uncommitted_record_may_ask_for() -> None:
    """A head that waits for a day holds back the horizon, and with it what was decided behind it."""
    ledger = Ledger(sources=("workflow.intents",), window_ms=10_000)
    ledger.put("behind the head", a_record(decided_at_ms=NOW_MS + 2_000))
    a_day_later = NOW_MS + 86_400_000
    ledger.advance(horizon_ms([NOW_MS + 1_000], now_ms=a_day_later))
    ledger.prune()
    assert len(ledger) == 1
    ledger.advance(horizon_ms([], now_ms=a_day_later))  # all of it is committed now
    ledger.prune()
    assert len(ledger) == 0
    ledger.advance(0)  # what is known once holds on
    assert ledger.horizon_ms == a_day_later


def test_a_head_whose_moment_cannot_be_believed_holds_everything_back() -> None:
    assert horizon_ms([NOW_MS, -1], now_ms=NOW_MS) == 0
    assert horizon_ms([NOW_MS], now_ms=NOW_MS) == NOW_MS - CLOCKS_DIFFER_MS
    assert horizon_ms([NOW_MS + 10**10], now_ms=NOW_MS) == NOW_MS


def test_a_large_ledger_is_pruned_in_slices_and_only_as_far_as_it_is_old() -> None:
    ledger = Ledger(sources=("workflow.intents",), window_ms=10_000)
    for number in range(10 * SLICE):
        ledger.put(f"old-{number}", a_record(decided_at_ms=number))
    for number in range(3 * SLICE):
        ledger.put(f"new-{number}", a_record(decided_at_ms=10**6))
    ledger.put("old-0", a_record(decided_at_ms=10**6))  # decided anew: as young as the others
    ledger.advance(10**6)
    sizes = [len(ledger)]
    while ledger.prune():
        sizes.append(len(ledger))
    steps = [before - after for before, after in pairwise(sizes)]
    assert max(steps) <= SLICE
    assert len(steps) <= 11
    assert len(ledger) == 3 * SLICE + 1
    assert ledger.get("old-0") is not None
    assert not ledger.prune()


def test_a_ledger_is_loaded_without_what_nobody_can_ask_for() -> None:
    ledger = Ledger(sources=("workflow.intents",), window_ms=10_000)
    ledger.advance(20_000)
    ledger.load(b"old", a_record(decided_at_ms=10_000).to_json())
    ledger.load(b"waits", a_record(status=WorkflowStatus.DEFERRED).to_json())
    ledger.load(b"new", a_record(decided_at_ms=10_001).to_json())
    assert [ledger.get(key) is not None for key in ("old", "waits", "new")] == [False, True, True]


def test_memory_of_offsets_does_not_grow_behind_one_that_is_not_done() -> None:
    """A head that waits for hours, and very many records that went by."""
    tracker, records = OffsetTracker(), 60_000
    tracemalloc.start()
    try:
        tracker.deliver(0)
        for offset in range(2, 2 * records, 2):  # with a transaction's marker after each
            assert tracker.deliver(offset)
            tracker.done(offset)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 5 * records
    assert not tracker.deliver(2)
    assert tracker.deliver(3), "it slipped in late, and has not been seen"
    assert tracker.committable() == 0
    tracker.done(0)
    assert tracker.committable() == 3
    tracker.committed(3)
    assert not tracker.deliver(2)
    assert not tracker.deliver(4)
    tracker.done(3)
    assert tracker.committable() == 2 * records - 1


def test_memory_of_offsets_ends_where_they_are_committed() -> None:
    tracker, records = OffsetTracker(), 60_000
    tracemalloc.start()
    try:
        for offset in range(records):
            assert tracker.deliver(offset)
            tracker.done(offset)
            if offset % 100 == 0:
                tracker.committed(offset + 1)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 50_000
    tracker.committed(records)
    assert not tracker.deliver(records - 1), "what lies below is never taken again"
    assert tracker.deliver(records)


def test_starts_are_counted_until_the_intent_is_decided() -> None:
    ledger = Ledger(sources=("workflow.intents",), window_ms=10_000)
    topics = Topics("workflow", (10.0,), 86_400)
    for count in (1, 2):
        record = start_record(topics, "key", count, lane=0)
        ledger.load(record.key or b"", record.value)
    assert ledger.starts("key") == 2
    end = start_record(topics, "key", None, lane=0)
    ledger.load(end.key or b"", end.value)
    assert ledger.starts("key") == 0


def test_starts_of_what_cannot_come_again_are_forgotten() -> None:
    """Their intents are gone with the topic's retention: no end is ever written."""
    ledger = Ledger(sources=("workflow.intents",), window_ms=10_000)
    topics = Topics("workflow", (10.0,), 86_400)
    for key, at_ms in (("gone", 1_000), ("again", 1_000), ("stays", 20_000), ("again", 20_000)):
        record = start_record(topics, key, 1, lane=0)
        ledger.load(record.key or b"", record.value, at_ms=at_ms)
    ledger.horizon_ms = 20_000
    while ledger.prune():
        pass
    assert [ledger.starts(key) for key in ("gone", "again", "stays")] == [0, 1, 1]
    assert len(ledger._starts) == 2


def test_a_late_start_of_a_worker_that_lost_its_lane_hides_no_decision() -> None:
    ledger = Ledger(sources=("workflow.intents",), window_ms=10_000)
    topics = Topics("workflow", (10.0,), 86_400)
    ledger.load(b"key", a_record().to_json())
    late = start_record(topics, "key", 1, lane=0)
    ledger.load(late.key or b"", late.value)
    entry = ledger.get("key")
    assert entry is not None
    assert entry.status is WorkflowStatus.COMPLETED
