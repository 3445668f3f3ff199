"""What operators order: held work waits and ends by its deadline, and goes on when it may."""

import asyncio
import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from agents.capacity.breaker import BreakerPolicy
from agents.capacity.limiter import ProviderLimits
from agents.capacity.turns import PAUSED_WAIT_S, Capacity
from agents.clock import ManualClock
from agents.deciding.decisions import Defer, Fallback
from agents.deciding.policy import RetryPolicy, choose
from agents.deciding.routes import Router
from agents.executing.account import Execution
from agents.executing.endings import called_off
from schemas.events import DeferralState
from schemas.operations import CancelRecord, ControlRecord, HoldRecord
from schemas.vocabulary import DeadLetterReason, Held, LogEvent, RunState
from streams.lanes.in_flight import InFlight
from streams.lanes.job import Job
from streams.lanes.lane import LaneState
from streams.messages.identity import NO_OUTLINE, Outline, identify, named, outline
from streams.messages.orders import CANCELS_FOR, ID_REACHES, LONGEST_PAUSE, Named, Orders, ends_at
from streams.messages.records import DEFERRAL_HEADER
from streams.worker.dead_letter_breaker import DeadLetterBreaker
from streams.worker.dispatcher import Dispatcher
from streams.worker.overseer import LOOK_S, Overseer
from streams.worker.stall_watch import STALL_LIMIT_S, StallWatch
from tests.builders import NOW, NOW_MS, a_task, an_incoming
from tests.unit.test_policy import a_situation
from tests.unit.test_worker_rooms import TOPICS, Flow, Gate, a_lane


def a_hold(what: Held = Held.ALL, name: str = "", **changes: Any) -> HoldRecord:
    return HoldRecord(**{"what": what, "name": name, "held": True, "at": NOW, **changes})


def test_the_newest_word_about_each_counts() -> None:
    orders = Orders()
    assert not orders.holds("acme", "chat")
    for hold in (
        a_hold(Held.TENANT, "acme"),
        a_hold(Held.TYPE, "mail"),
        a_hold(Held.PROVIDER, "p"),
    ):
        orders.take(hold)
    assert [orders.holds(*one) for one in (("acme", "chat"), ("b", "mail"), ("b", "chat"))] == [
        True, True, False,
    ]  # fmt: skip
    assert orders.providers == {"p"}
    orders.take(a_hold(Held.TENANT, "acme", held=False))
    orders.take(a_hold(Held.TENANT, "nobody", held=False))
    assert not orders.holds("acme", "chat")
    assert [one.what for one in orders] == [Held.TYPE, Held.PROVIDER]
    orders.take(a_hold())
    assert orders.holds("b", "chat")


def test_a_pause_of_a_provider_holds_no_work_by_itself() -> None:
    orders = Orders()
    orders.take(a_hold(Held.PROVIDER, "openai"))
    assert not orders.holds("acme", "chat")
    assert not orders.holds_work


def test_a_pause_that_is_forgotten_ends_by_itself() -> None:
    orders = Orders()
    orders.take(a_hold(Held.TENANT, "old"))
    orders.take(a_hold(Held.TENANT, "new", at=NOW + timedelta(days=1)))
    assert orders.forget(NOW + LONGEST_PAUSE - timedelta(seconds=1)) == ()
    (over,) = orders.forget(NOW + LONGEST_PAUSE)
    assert (over.name, ends_at(over)) == ("old", NOW + timedelta(days=30))
    assert [one.name for one in orders] == ["new"]


# ── at the worker ───────────────────────────────────────────────────────────────────────────


@dataclass
class Scene:
    """A dispatcher with an overseer before it, and the records of the topic."""

    gate: Gate = field(default_factory=Gate)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    orders: Orders = field(default_factory=Orders)
    said: list[tuple[LogEvent, dict[str, Any]]] = field(default_factory=list)
    offset: int = 0

    def __post_init__(self) -> None:
        def outline(incoming: Any) -> Outline:
            tenant, kind, *rest = (incoming.key or b"").decode().split("/")
            deadline = NOW_MS + int(rest[0]) if rest else None
            return Outline(tenant, kind, ("openai", "azure"), deadline)

        self.dispatcher = Dispatcher(
            TOPICS, concurrency=8, clock=self.clock, flow=Flow(), gate=self.gate,
            outline=outline, weights={}, orders=self.orders,
        )  # fmt: skip
        self.lane = a_lane()
        self.dispatcher.resume({3: self.lane})
        self.capacity = Capacity(
            {"openai": ProviderLimits(), "azure": ProviderLimits()}, BreakerPolicy(),
            clock=self.clock,
        )  # fmt: skip
        self.overseer = Overseer(
            self.orders, dispatcher=self.dispatcher, capacity=self.capacity, clock=self.clock,
            log=lambda event, **fields: self.said.append((event, fields)),
        )  # fmt: skip

    def order(self, record: Any, **place: int) -> None:
        self.offset += 1
        at = {"offset": self.offset, "timestamp": NOW_MS + self.offset, **place}
        self.overseer.take(SimpleNamespace(value=record.to_json(), **at))  # type: ignore[arg-type]

    def put(self, *keys: str) -> None:
        for key in keys:
            number = self.dispatcher.delivered
            self.dispatcher.put(an_incoming(key=key.encode(), offset=number))

    def begun(self) -> list[str]:
        self.dispatcher._dispatch()
        taken = [(one.incoming.key or b"").decode() for one in self.lane.taken]
        self.lane.taken.clear()
        return taken


def test_what_is_held_waits_and_others_go_before_it() -> None:
    scene = Scene()
    scene.put("acme/chat", "b/chat")
    scene.order(a_hold(Held.TENANT, "acme"))  # what has been read already is held too
    scene.put("acme/mail", "b/mail")
    assert scene.begun() == ["b/chat", "b/mail"]
    assert (scene.dispatcher.paused, scene.dispatcher.waiting) == (2, 2)
    assert scene.dispatcher.oldest_waiting_s == 0, "somebody wants it to wait"
    scene.order(a_hold(Held.TENANT, "acme", held=False))
    assert scene.begun() == ["acme/chat", "acme/mail"]
    assert scene.dispatcher.paused == 0


def test_work_of_another_type_does_not_wait_behind_what_is_held() -> None:
    scene = Scene()
    scene.order(a_hold(Held.TYPE, "mail"))
    scene.put("acme/mail", "acme/chat")
    assert scene.begun() == ["acme/chat"]


def test_deadlines_go_on_while_work_is_held() -> None:
    scene = Scene()
    scene.order(a_hold())
    scene.put("a/chat/5000", "b/chat", "c/chat/2000")
    assert scene.begun() == []
    scene.clock.advance(3)
    assert scene.begun() == ["c/chat/2000"], "it ends by its deadline, and calls nobody"
    scene.order(a_hold(held=False))
    assert scene.begun() == ["a/chat/5000", "b/chat"]


def test_held_work_is_no_stall() -> None:
    scene = Scene()
    watch = StallWatch(scene.dispatcher, in_group=lambda: True, clock=scene.clock, log=print)
    scene.order(a_hold())
    scene.put("a/chat")
    scene.clock.advance(10 * STALL_LIMIT_S)
    scene.dispatcher.fetched()
    wait_s = scene.dispatcher._dispatch()
    assert wait_s is not None
    assert wait_s <= 1
    assert not watch.stalled()


def test_a_rebalance_forgets_what_is_held_for_it_is_read_again() -> None:
    scene = Scene()
    scene.order(a_hold())
    scene.put("a/chat/5000")
    scene.dispatcher.suspend()
    assert scene.dispatcher.waiting == 0
    scene.dispatcher.resume({3: scene.lane})
    scene.clock.advance(10)
    assert scene.begun() == []


def test_a_provider_that_is_paused_is_as_one_whose_breaker_is_open() -> None:
    scene = Scene()
    scene.order(a_hold(Held.PROVIDER, "openai"))
    waits = tuple(scene.capacity.wait_s(name) for name in ("openai", "azure"))
    assert waits == (PAUSED_WAIT_S, 0.0)
    assert choose(RetryPolicy(), a_situation(waits_s=waits)) == Fallback(1, "unavailable")
    alone = a_situation(providers=("openai",), waits_s=waits[:1])
    step = choose(RetryPolicy(), alone)
    assert isinstance(step, Defer)
    assert (step.reason, step.counted) == ("unavailable", False)
    scene.order(a_hold(Held.PROVIDER, "openai", held=False))
    assert scene.capacity.wait_s("openai") == 0


def test_what_was_heard_before_is_not_heard_again_and_a_new_topic_is() -> None:
    """The topic is read from its beginning after each loss of the connection."""
    scene = Scene()
    first = (a_hold(why="first"), a_hold(held=False))
    for number, hold in enumerate((*first, a_hold(why="now")), start=1):
        scene.order(hold, offset=number, timestamp=NOW_MS + number)
    said = len(scene.said)
    for number, hold in enumerate(first, start=1):
        scene.order(hold, offset=number, timestamp=NOW_MS + number)
        assert scene.orders.holds("a", "chat")
    assert len(scene.said) == said
    scene.order(a_hold(held=False), offset=0, timestamp=NOW_MS + 99)  # made anew
    assert not scene.orders.holds("a", "chat")


def test_what_is_over_or_about_dead_letters_is_none_of_a_workers_business() -> None:
    scene = Scene()
    scene.order(a_hold(at=NOW - LONGEST_PAUSE))
    scene.order(ControlRecord(plan_id="p", wanted=RunState.PAUSED, at=NOW))
    assert (list(scene.orders), scene.said) == ([], [])
    with pytest.raises(ValueError, match="validation error"):
        scene.overseer.take(SimpleNamespace(value=b"{}", offset=9, timestamp=NOW_MS + 9))  # type: ignore[arg-type]


async def until_cancelled(scene: Scene, sleeps: int) -> None:
    count, real = 0, scene.clock.sleep

    async def sleep(seconds: float) -> None:
        nonlocal count
        count += 1
        if count > sleeps:
            raise InterruptedError
        await real(seconds)

    scene.clock.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(InterruptedError):
        await scene.overseer.look_forever()


def test_a_worker_ends_a_pause_that_nobody_has_ended() -> None:
    scene = Scene()
    scene.order(a_hold(at=NOW - LONGEST_PAUSE + timedelta(seconds=LOOK_S / 2)))
    scene.put("a/chat")
    assert scene.begun() == []
    asyncio.run(until_cancelled(scene, 1))
    assert scene.begun() == ["a/chat"]
    assert [event for event, _ in scene.said] == [LogEvent.WORK_PAUSED, LogEvent.WORK_RESUMED]


def test_what_is_ordered_is_logged_with_who_and_why() -> None:
    scene = Scene()
    scene.order(a_hold(Held.TENANT, "acme", why="their wish", by="ann@host"))
    assert scene.said == [
        (
            LogEvent.WORK_PAUSED,
            {"what": "tenant", "name": "acme", "why": "their wish", "by": "ann@host"},
        )
    ]


# ── what is called off ──────────────────────────────────────────────────────────────────────


def a_cancel(*ids: str, **changes: Any) -> CancelRecord:
    values = {"cancel_id": "c-1", "intent_ids": list(ids), "until": NOW, "at": NOW, "why": "wrong"}
    return CancelRecord.model_validate({**values, **changes})


def work(**changes: Any) -> Named:
    values = {"intent_id": "i-1", "tenant": "acme", "type": "chat", "written_at": NOW}
    return Named(**{**values, **changes})


@pytest.mark.parametrize(
    ("order", "changes", "ends"),
    [
        (a_cancel("i-0", "i-1"), {}, True),
        (a_cancel("i-0"), {}, False),
        (a_cancel("i-1", tenant="acme"), {}, True),
        (a_cancel("i-1", tenant="other"), {}, False),
        # It was on its way, or its producer's clock is ahead; and later it is another's.
        (a_cancel("i-1"), {"written_at": NOW + ID_REACHES}, True),
        (a_cancel("i-1"), {"written_at": NOW + ID_REACHES + timedelta(seconds=1)}, False),
        # A replay that was there is meant, one that is asked for afterwards is not.
        (a_cancel("i-1"), {"is_replay": True}, True),
        (a_cancel("i-1"), {"is_replay": True, "written_at": NOW + timedelta(seconds=1)}, False),
        (a_cancel(), {}, True),
        (a_cancel(), {"written_at": NOW + timedelta(seconds=1)}, False),
        (a_cancel(until=NOW - timedelta(seconds=1)), {}, False),
        (a_cancel(tenant="acme"), {}, True),
        (a_cancel(tenant="other"), {}, False),
        (a_cancel(tenant="acme", type="chat"), {}, True),
        (a_cancel(tenant="acme", type="mail"), {}, False),
        (a_cancel(type="chat"), {}, True),
    ],
)
def test_what_an_order_ends(order: CancelRecord, changes: dict[str, Any], ends: bool) -> None:
    orders = Orders()
    assert orders.calls_off(work()) is None
    orders.take(order)
    assert orders.cancels
    assert orders.calls_off(work(**changes)) is (order if ends else None)


def test_orders_to_end_are_kept_for_as_long_as_what_they_end_may_come() -> None:
    orders, later = Orders(), NOW + timedelta(days=1)
    for one in (a_cancel("i-1"), a_cancel("i-1", at=later), a_cancel(type="x")):
        orders.take(one)
    orders.forget(NOW + CANCELS_FOR)
    assert orders.calls_off(work()) is not None
    orders.forget(later + CANCELS_FOR)
    assert not orders.cancels


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        {"type": "chat", "user_id": "u", "data": {}, "intent_id": "stated", "tenant": "acme"},
        {"type": "chat", "userId": "u", "data": {}, "intentId": "stated", "tenant": "acme"},
        {"type": "chat", "user_id": "u", "data": {}, "tenant": "acme"},
    ],
)
def test_waiting_work_is_named_as_its_lane_names_it(value: dict[str, Any], deferred: bool) -> None:
    incoming = an_incoming(json.dumps(value).encode(), headers=(("replay-count", b"1"),))
    if deferred:
        state = DeferralState(
            due_at_ms=NOW_MS, count=0, hop=1, reason="x", source=incoming.source,
            intent_id=value.get("intent_id") or value.get("intentId") or "derived",
        )  # fmt: skip
        headers = (*incoming.headers, (DEFERRAL_HEADER, state.to_json()))
        incoming = replace(incoming, topic=TOPICS.deferred[0], offset=99, headers=headers)
    who = identify(incoming, max_bytes=1000).who
    router = Router({"openai": "openai"})
    assert named(incoming, outline(incoming, router, max_bytes=1000)) == who.named
    assert who.named.is_replay


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"\xff"])
def test_what_cannot_be_read_is_named_by_its_place(value: bytes | None) -> None:
    incoming = an_incoming(value)
    who = identify(incoming, max_bytes=1000).who
    assert named(incoming, NO_OUTLINE).intent_id == who.intent_id
    assert (who.named.tenant, who.named.type) == ("", "")


def test_what_waits_ends_at_once_without_slot_provider_or_its_time() -> None:
    """In line, held, and not due: each goes to its lane when it is called off, whoever is busy."""
    scene = Scene(gate=Gate("openai", "azure"))
    state = DeferralState(
        due_at_ms=NOW_MS + 9_000, count=0, hop=1, reason="not_before", source=an_incoming().source,
        intent_id="undue",
    )  # fmt: skip
    scene.put("a/chat")  # its providers are out
    scene.order(a_hold(Held.TENANT, "b"))
    scene.put("b/chat")
    undue = an_incoming(
        topic=TOPICS.deferred[0], key=b"c/chat", headers=((DEFERRAL_HEADER, state.to_json()),)
    )
    scene.dispatcher.put(undue)
    scene.dispatcher.put(replace(undue, offset=8, key=b"d/chat"))
    assert scene.begun() == []
    scene.dispatcher.running = 8  # no slot is free
    for tenant in "abc":
        scene.order(a_cancel(tenant=tenant))
    scene.lane.state = LaneState.SUSPENDED
    assert scene.begun() == []
    assert scene.dispatcher.waiting == 4
    scene.lane.state = LaneState.OPEN
    assert scene.begun() == ["a/chat", "b/chat", "c/chat"]
    assert scene.dispatcher.waiting == 1
    scene.put("a/chat", "e/chat")  # what comes later, written before, ends as it comes
    assert scene.begun() == ["a/chat"]


def test_a_worker_that_stops_or_rebalances_ends_nothing() -> None:
    for stopped in ("hold", "stop", "suspend"):
        scene = Scene()
        scene.put("a/chat")
        scene.order(a_cancel(tenant="a"))
        getattr(scene.dispatcher, stopped)()
        assert scene.begun() == []


def test_an_order_reaches_the_lanes_and_the_log_and_an_old_one_neither() -> None:
    scene, asked = Scene(), list[Orders]()
    jobs = SimpleNamespace(call_off=asked.append)
    scene.overseer.lanes = lambda: [SimpleNamespace(jobs=jobs)]  # type: ignore[list-item]
    scene.order(a_cancel("i-1", at=NOW - CANCELS_FOR))
    assert (asked, scene.said) == ([], [])
    scene.order(a_cancel("i-1", by="ann@host"))
    assert asked == [scene.orders]
    ((event, fields),) = scene.said
    assert (event, fields["intents"], fields["why"]) == (LogEvent.CANCEL_ORDERED, 1, "wrong")


def test_ends_that_somebody_wanted_halt_no_worker() -> None:
    breaker = DeadLetterBreaker()
    run = Execution(a_task(), NOW)
    assert not any(breaker.note(called_off(run, "wrong")) for _ in range(200))


def test_an_end_says_whose_words_it_follows() -> None:
    run = Execution(a_task(), NOW)
    said = called_off(run, "wrong")
    assert (said.reason, said.code, said.retriable) == (
        DeadLetterReason.CANCELLED,
        "cancelled",
        True,
    )
    assert said.message == "cancelled by an operator: wrong"
    assert called_off(run, "").message == "cancelled by an operator"


def test_running_work_is_cancelled_once_and_what_has_not_begun_is_left_to_find_out() -> None:
    async def run() -> list[bool]:
        orders, jobs = Orders(), InFlight()
        orders.take(a_cancel("i-1", "i-2"))
        incoming, seen = an_incoming(b"{}"), []
        for name, begun in (("i-1", True), ("i-2", False), ("i-3", True)):
            value = json.dumps({"type": "chat", "user_id": "u", "data": {}, "intent_id": name})
            who = identify(replace(incoming, value=value.encode()), max_bytes=1000).who
            job = Job(who, incoming, [], lambda: None)
            job.task, job.begun = asyncio.create_task(asyncio.sleep(3600)), begun
            jobs.add(job, who.key)
            seen.append(job)
        await asyncio.sleep(0)
        jobs.call_off(orders)
        jobs.call_off(orders)
        await asyncio.sleep(0)
        ended = [bool(job.task and job.task.cancelled()) for job in seen]
        assert [job.why_called_off() for job in seen] == ["wrong", None, None]
        for job in seen:
            assert job.task is not None
            job.task.cancel()
        return ended

    assert asyncio.run(run()) == [True, False, False]
