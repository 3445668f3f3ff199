"""What a rebalance does to lanes: opened, kept, suspended, given up."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from aiokafka.errors import KafkaError

from agents.capacity.turns import Capacity
from agents.clock import Clock
from agents.log import Log
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.lanes.job import LaneParts
from streams.lanes.lane import Lane, LaneState
from streams.membership.faust_app import TP
from streams.membership.lease import Lease
from streams.worker.dispatcher import Dispatcher
from streams.worker.flow import Flow
from streams.worker.lane_zero import LaneZero
from streams.worker.supervisor import Supervisor

__all__ = ["Rebalance"]

#: Deliveries are paced, and batches made, by one process: the one that has this lane.
DELIVERIES_LANE = 0
#: What a lane that is suspended writes should be there before its next owner reads.
SETTLE_S = 2
#: Ledgers are pruned this often.
PRUNE_EVERY_S = 60


class Rebalance:
    """Owns the lanes of one worker; Faust's is eager, so each rebalance gives everything up."""

    def __init__(
        self,
        settings: Settings,
        parts: LaneParts,
        *,
        dispatcher: Dispatcher,
        flow: Flow,
        lease: Lease,
        capacity: Capacity,
        pacer: LaneZero,
        supervisor: Supervisor,
        clock: Clock,
        log: Log,
    ) -> None:
        """Begin without lanes; the first assignment opens them."""
        self._settings = settings
        self._parts = replace(parts, events=replace(parts.events, on_fenced=self._after_fencing))
        self._dispatcher = dispatcher
        self._flow = flow
        self._lease = lease
        self._capacity = capacity
        self._pacer = pacer
        self._supervisor = supervisor
        self._clock = clock
        self._log = log
        self._pacing: asyncio.Task[None] | None = None
        self._assigned_once = False
        self.partitions = settings.hybrid_partitions
        self.lanes: dict[int, Lane] = {}

    @property
    def ready(self) -> bool:
        """Whether every lane that is ours is open, work is taken, and Kafka hears us."""
        return (
            self._assigned_once
            and self._lease.heard_lately
            and not self._dispatcher.halted
            and all(lane.state is LaneState.OPEN for lane in self.lanes.values())
        )

    @property
    def in_flight(self) -> int:
        """Jobs that run or wait for their commit."""
        return sum(lane.in_flight for lane in self.lanes.values())

    # ── what Faust calls ────────────────────────────────────────────────────────────────────

    async def revoked(self, _app: object, revoked: Iterable[TP], **_: object) -> None:
        """Finish what can be finished in the drain budget, then give everything up."""
        if not self.lanes:
            return
        self._log(LogEvent.PARTITIONS_REVOKED, lanes=sorted({tp.partition for tp in revoked}))
        self._dispatcher.hold()
        await self.drain(self._settings.hybrid_drain_budget)
        await self._flow.commit_offsets(2)
        self._dispatcher.suspend()
        for lane in self.lanes.values():
            lane.suspend()
        await self._parts.journal.settle(SETTLE_S)

    async def assigned(self, _app: object, assigned: Iterable[TP], **_: object) -> None:
        """Keep the lanes that came back, close those that went, open those that are new."""
        numbers, why = self._numbers(assigned := list(assigned)), self._grown(assigned)
        if numbers is None or why is not None:
            self._supervisor.end(why or self._torn(assigned))
            return
        self._lease.heard()
        self._assigned_once = True
        # One that was fenced and has come back is opened anew: a closed lane never runs again.
        closed = {n for n, lane in self.lanes.items() if lane.state is LaneState.CLOSED}
        gone = [self.lanes.pop(number) for number in (set(self.lanes) - numbers) | closed]
        for lane in gone:
            self._supervisor.once(f"giving up lane {lane.number}", lane.close())
        self._pace_deliveries(wanted=DELIVERIES_LANE in numbers)
        for lane in self.lanes.values():
            lane.resume()
        if not self._supervisor.stopping:  # a stop is final: what comes now is the others' work
            for number in sorted(numbers - set(self.lanes)):
                self._open_lane(number)
        self._capacity.set_share(len(numbers) / self.partitions)
        self._log(LogEvent.PARTITIONS_ASSIGNED, lanes=sorted(numbers))
        self._dispatcher.resume(self.lanes)

    def _grown(self, assigned: Iterable[TP]) -> str | None:
        """Say what to do where a topic has more partitions than this worker knows; else None."""
        grown = [tp for tp in assigned if tp.partition >= self.partitions]
        if not grown:
            return None
        return (
            f"topic {grown[0].topic} was given partitions while this worker ran (it began with "
            f"{self.partitions}): stop all workers and run `hybrid topics ensure --grow` with "
            "HYBRID_PARTITIONS set to the new number"
        )

    def _torn(self, assigned: Iterable[TP]) -> str:
        """Say what to do where the source topics did not bring the same partitions."""
        missing = set(self._settings.topics.sources) - {tp.topic for tp in assigned}
        if not missing:
            return (
                "members of the group subscribe to different topics, so that lanes are torn apart; "
                "stop the workers of the other version or configuration"
            )
        return (
            f"topic {min(missing)} gave no partitions, and others did: where it was deleted, run "
            "`hybrid topics ensure`; where workers of another version or configuration are in the "
            "group, stop them"
        )

    def _numbers(self, assigned: Iterable[TP]) -> set[int] | None:
        """Give the lanes' numbers; None when the source topics did not bring the same ones."""
        by_topic: dict[str, set[int]] = {name: set() for name in self._settings.topics.sources}
        for tp in assigned:
            by_topic.setdefault(tp.topic, set()).add(tp.partition)
        numbers = by_topic[self._settings.topics.intents]
        return numbers if all(found == numbers for found in by_topic.values()) else None

    # ── the worker's end ────────────────────────────────────────────────────────────────────

    async def drain(self, budget_s: float) -> None:
        """Wait until nothing is in flight, at most `budget_s` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(budget_s):
                await asyncio.gather(*(lane.drained() for lane in self.lanes.values()))

    async def close(self) -> None:
        """Give up all lanes, and the pacer."""
        await asyncio.gather(*(lane.close() for lane in self.lanes.values()))
        if self._pacing is not None:
            self._pacing.cancel()

    async def prune_ledgers_forever(self) -> None:
        """Forget decisions that have left the window and cannot be asked for again.

        What was spent in earlier months goes too.
        """
        while True:
            await self._clock.sleep(PRUNE_EVERY_S)
            self._parts.spending.prune(self._clock.now())
            # While the broker does not answer, what was known holds on: less is forgotten.
            with suppress(KafkaError, TimeoutError, OSError):
                await self._prune_ledgers(dict(self.lanes))

    async def _prune_ledgers(self, lanes: dict[int, Lane]) -> None:
        for number, horizon_ms in (await self._parts.broker.horizons(lanes)).items():
            ledger = lanes[number].ledger
            ledger.advance(horizon_ms)
            while ledger.prune():
                await self._clock.sleep(0)

    # ── one lane ────────────────────────────────────────────────────────────────────────────

    def _pace_deliveries(self, *, wanted: bool) -> None:
        """Run the pacer where lane 0 is, and nowhere else."""
        before = self._pacing
        running = before is not None and not before.done() and not before.cancelling()
        if wanted and not running:
            self._pacing = asyncio.get_running_loop().create_task(self._pace_after(before))
        elif self._pacing is not None and not wanted:
            self._pacing.cancel()

    async def _pace_after(self, before: asyncio.Task[None] | None) -> None:
        """Pace when a run that was told to end has ended: lane 0 may come back before that."""
        if before is not None:
            await asyncio.wait([before])
        await self._pacer.run()

    def _open_lane(self, number: int) -> None:
        lane = Lane(number, self._parts)
        self.lanes[number] = lane
        self._supervisor.once(f"opening lane {number}", self._open(lane))

    async def _open(self, lane: Lane) -> None:
        await lane.open()
        self._dispatcher.lane_opened()
        if self.ready:
            self._log(LogEvent.WORKER_READY, worker=self._parts.worker, lanes=len(self.lanes))

    def _after_fencing(self, number: int) -> None:
        """A fenced lane that stays assigned to us ends the worker, after a session timeout.

        Usually a rebalance takes it away before that. It is not when the broker itself ended a
        transaction that took too long: then nobody else would run the lane.
        """
        self._supervisor.once(
            f"watching lane {number}, which was fenced",
            self._end_if_still_ours(number, self.lanes.get(number)),
        )

    async def _end_if_still_ours(self, number: int, fenced: Lane | None) -> None:
        await self._clock.sleep(self._settings.hybrid_session_timeout)
        if fenced is None or self.lanes.get(number) is not fenced:
            return
        # The report may have come from an older lane of this number; this one may run well.
        if fenced.state is LaneState.CLOSED and self._lease.holds():
            # What was in flight is not delivered again without a rebalance: restart for it.
            self._supervisor.end(
                f"lane {number} was fenced, and is still ours; start the worker again"
            )
