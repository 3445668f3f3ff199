"""The run of a plan: its dead letters published again, each once, whatever interrupts it.

What is sent, and how far the run is, goes out in one transaction, under an id of the plan's own.
Whoever goes on with a run fences the one before, reads how far it came, and sends the rest.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import aclosing, suppress
from datetime import timedelta
from decimal import Decimal

from aiokafka import AIOKafkaProducer
from pydantic import ValidationError

from agents.clock import Clock
from schemas.base import format_usd
from schemas.events import ReplayRecord
from schemas.operations import ProgressRecord, RunRecord
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.vocabulary import RunState
from streams.kafka.reading import read_topic
from streams.publishing.dead_letters import replayed_record
from streams.triage.batching import UNREADABLE, Batch
from streams.triage.beginning import Options, progress_of, run_record, usable
from streams.triage.book import OVER, Planned
from streams.triage.changing import changed
from streams.triage.choosing import may_run
from streams.triage.journal import operation_record, send_together, transactional
from streams.triage.letter_reader import planned_letters
from streams.triage.live import LiveBook, live_book
from streams.triage.places import Place
from streams.triage.pricing import Estimator, Priced, Refusal
from streams.triage.tally import Tally
from streams.triage.typical import Typical

__all__ = ["run_plan"]

#: So many are sent first, and so many of them must end well, within so many seconds.
CANARY, CANARY_WELL, CANARY_LIMIT_S = 5, 4, 120.0
#: Records, and bytes, of one transaction.
TOGETHER, TOGETHER_BYTES = 200, 4_000_000
#: With a rate it sends so often a second, where that is more than one record each.
TIMES_A_SECOND = 5
#: How often it is looked whether outcomes have come, or somebody wants it to go on.
LOOK_S = 0.2


class _PausedError(Exception):
    """Raised inside a run that cannot go on by itself."""


async def run_plan(
    settings: Settings,
    plan_id: str,
    options: Options,
    *,
    clock: Clock,
    on_progress: Callable[[ProgressRecord], None] = lambda _progress: None,
) -> ProgressRecord:
    """Run a plan to its end, or go on with its run; gives how far it came.

    Raises PlanError, ProducerFenced where another process has taken the run over, and what Kafka
    raises.
    """
    async with transactional(settings, plan_id) as client, live_book(settings) as live:
        planned = usable(live.book, plan_id, clock)
        if planned.state in OVER:
            return progress_of(planned, clock)
        run = run_record(planned, options, clock)
        runner = _Runner(settings, planned, run, live, client, clock, on_progress)
        return await runner.run()


class _Runner:
    """One process's part in a run."""

    def __init__(
        self,
        settings: Settings,
        planned: Planned,
        run: RunRecord,
        live: LiveBook,
        client: AIOKafkaProducer,
        clock: Clock,
        on_progress: Callable[[ProgressRecord], None],
    ) -> None:
        self._settings = settings
        self._planned = planned
        self._run = run
        self._live = live
        self._client = client
        self._clock = clock
        self._on_progress = on_progress
        self._progress = progress_of(planned, clock)
        self._tally = Tally()
        self._estimator: Estimator | None = None
        self._next_at = clock.monotonic()
        live.on_ended = self._tally.ended

    async def run(self) -> ProgressRecord:
        """Send what is left; a run that cannot go on by itself is paused."""
        # Whoever goes on with one that was paused has seen why.
        was_paused = self._planned.state is RunState.PAUSED
        self._planned.control = None
        self._progress = self._progress.model_copy(
            update={"state": RunState.RUNNING, "said": "", "updated_at": self._clock.now()}
            | ({"canary": []} if was_paused else {})
        )
        records = [operation_record(self._settings, one) for one in (self._run, self._progress)]
        await send_together(self._client, records)
        if self._run.max_usd is not None:
            self._estimator = Estimator(self._settings, Typical(), at=self._clock.now())
        if self._run.max_usd is not None or self._run.canary:
            await self._recall()
        try:
            await self._send_all()
            await self._wait_for_canary()
        except _PausedError as paused:
            return await self._say(RunState.PAUSED, str(paused))
        if self._wanted() is RunState.STOPPED:
            return await self._say(RunState.STOPPED, "stopped")
        return await self._say(RunState.DONE, "")

    async def _send_all(self) -> None:
        batch = Batch()
        letters = planned_letters(
            self._settings, self._planned.places, after=dict(self._progress.positions)
        )
        async with aclosing(letters):
            async for place, letter in letters:
                wanted = changed(letter, self._planned.plan.changes)
                bound = self._bound(wanted)
                if self._is_over(batch, bound):
                    await self._flush(batch)
                    batch = Batch()
                    await self._wait_for_room(bound)
                self._take(batch, place, letter, wanted, bound)
                if len(batch.records) >= self._together() or batch.size > TOGETHER_BYTES:
                    await self._flush(batch)
                    batch = Batch()
                    if self._progress.sent >= CANARY:
                        await self._wait_for_canary()
                if self._wanted() is RunState.STOPPED:
                    return
            await self._flush(batch)

    def _take(
        self,
        batch: Batch,
        place: Place,
        letter: DeadLetter,
        wanted: DeadLetter | Refusal,
        bound: Decimal | None,
    ) -> None:
        """Take a letter into a batch, to be sent or, where it was dealt with since, passed over."""
        state = self._live.book.state(place, letter, but=self._run.plan_id)
        if isinstance(wanted, Refusal) or wanted.is_without_content:
            batch.skipped[UNREADABLE] += 1
        elif may_run(state, again=self._planned.plan.again):
            topics, plan_id = self._settings.topics, self._run.plan_id
            batch.records.append(replayed_record(wanted, topics, plan_id=plan_id))
            batch.letters.append((letter.dead_letter_id, bound))
        else:
            batch.skipped[state.value] += 1
        batch.positions[place[0]] = place[1]

    async def _flush(self, batch: Batch) -> None:
        """Send a batch with how far the run then is, once nothing holds it back."""
        if not batch.positions:
            return
        await self._hold()
        if self._wanted() is RunState.STOPPED:
            return
        await self._pace(len(batch.records))
        before = self._progress
        sent = before.sent + len(batch.records)
        canary = before.canary
        if self._run.canary and before.sent < CANARY:
            canary = [*before.canary, *(name for name, _ in batch.letters)]
        self._progress = before.model_copy(
            update={
                "sent": sent,
                "skipped": dict(Counter(before.skipped) + batch.skipped),
                "positions": {**before.positions, **batch.positions},
                "canary": canary,
                "updated_at": self._clock.now(),
            }
        )
        for name, bound in batch.letters:
            self._tally.sent(name, bound)
        progress = operation_record(self._settings, self._progress)
        await send_together(self._client, [*batch.records, progress])
        self._on_progress(self._progress)

    def _together(self) -> int:
        """Give how many are sent together."""
        rate = self._run.rate
        most = TOGETHER if rate is None else max(1, min(TOGETHER, int(rate / TIMES_A_SECOND)))
        if self._run.canary and self._progress.sent < CANARY:
            most = min(most, CANARY - self._progress.sent)
        return most

    async def _pace(self, count: int) -> None:
        if self._run.rate is None:
            return
        now = self._clock.monotonic()
        while now < self._next_at:
            await self._clock.sleep(min(LOOK_S, self._next_at - now))
            await self._live.poll()
            now = self._clock.monotonic()
        self._next_at = max(now, self._next_at) + count / self._run.rate

    async def _hold(self) -> None:
        """Wait while somebody wants it to pause."""
        await self._live.poll()
        while self._wanted() is RunState.PAUSED:
            await self._clock.sleep(LOOK_S)
            await self._live.poll()

    def _wanted(self) -> RunState:
        return self._planned.control.wanted if self._planned.control else RunState.RUNNING

    def _bound(self, letter: DeadLetter | Refusal) -> Decimal | None:
        """Give what its replay may cost at most, where the run has a limit; raises _PausedError."""
        if self._estimator is None or isinstance(letter, Refusal):
            return None
        priced = self._estimator.price(letter)
        if isinstance(priced, Priced) and priced.most_usd is not None:
            return priced.most_usd
        message = (
            f"what dead letter {letter.dead_letter_id} may cost is not known, so --max-usd cannot "
            "be held: add a price, or go on without it"
        )
        raise _PausedError(message)

    def _is_over(self, batch: Batch, bound: Decimal | None) -> bool:
        """Whether one more could cost more than the run may."""
        limit = self._run.max_usd
        stake = self._tally.exposure_usd + batch.bound_usd + (bound or Decimal(0))
        return limit is not None and stake > limit

    async def _wait_for_room(self, bound: Decimal | None) -> None:
        """Wait until outcomes leave room for one more; raises _PausedError where none will."""
        while self._is_over(Batch(), bound):
            if not self._tally.waiting:
                limit = format_usd(self._run.max_usd or Decimal(0))
                message = (
                    f"one more could cost more than the limit of {limit} USD "
                    f"({format_usd(self._tally.spent_usd)} is spent); go on with a higher --max-usd"
                )
                raise _PausedError(message)
            await self._clock.sleep(LOOK_S)
            await self._live.poll()

    async def _wait_for_canary(self) -> None:
        """Wait for the first letters; raises _PausedError where too few of them end well."""
        if not self._progress.canary or self._wanted() is RunState.STOPPED:
            return
        count = len(self._progress.canary)
        needed = max(1, count - (CANARY - CANARY_WELL))
        until = self._clock.monotonic() + CANARY_LIMIT_S
        while self._tally.completed < needed and self._clock.monotonic() < until:
            if self._tally.completed + self._tally.waiting < needed:
                break
            await self._clock.sleep(LOOK_S)
            await self._live.poll()
        if self._tally.completed < needed:
            left = self._tally.waiting
            waits = f", and {left} have no outcome yet" if left else ""
            message = (
                f"of the first {count} only {self._tally.completed} ended well{waits}: look at "
                "`hybrid dlq causes`, then go on or stop it"
            )
            raise _PausedError(message)
        self._progress = self._progress.model_copy(update={"canary": []})

    async def _recall(self) -> None:
        """Take in what an earlier process of this run has sent, and what came of it."""
        sent = self._progress.positions
        if not sent:
            return
        async for place, letter in planned_letters(self._settings, self._planned.places, after={}):
            if place[1] <= sent.get(place[0], -1):
                bound = self._bound(changed(letter, self._planned.plan.changes))
                self._tally.sent(letter.dead_letter_id, bound)
        since = self._run.started_at - timedelta(minutes=1)
        async for record in read_topic(self._settings, self._settings.topics.replays, since=since):
            with suppress(ValidationError):
                if record.value:
                    self._tally.ended(ReplayRecord.model_validate_json(record.value))

    async def _say(self, state: RunState, said: str) -> ProgressRecord:
        self._progress = self._progress.model_copy(
            update={"state": state, "said": said, "updated_at": self._clock.now()}
        )
        await send_together(self._client, [operation_record(self._settings, self._progress)])
        self._on_progress(self._progress)
        return self._progress
