"""What a job writes: its outcome, or a smaller dead letter where that cannot be written."""

from dataclasses import replace
from decimal import Decimal
from typing import assert_never

from agents.clock import uuid7
from agents.task import NOTHING, Completed, Deferred, Failed, Outcome, Paid
from schemas.budgets import SpendRecord
from schemas.topics import Topics
from schemas.vocabulary import DeadLetterReason, ErrorClass, LogEvent
from streams.lanes.job import Delivery, Job, LaneParts
from streams.lanes.outcome_records import outcome_records
from streams.messages.duplicates import duplicate_records
from streams.messages.records import (
    Decided,
    Identity,
    OutRecord,
)
from streams.messages.sealing import Whose

__all__ = ["Verdicts", "internal", "kills_workers", "spend_record"]

#: Room that a record's framing takes beside key, value and headers.
FRAMING_BYTES = 1024
#: Code of the dead letter that stands in for what a broker refuses, whatever it is.
REFUSED = "outcome_refused"


class Verdicts:
    """Gives jobs of one lane what they write."""

    def __init__(self, lane: int, parts: LaneParts) -> None:
        """Serve the lane of this number."""
        self._lane = lane
        self._parts = parts

    def decide(self, job: Job, outcome: Outcome) -> None:
        """Give a job its outcome, or a dead letter where that is larger than a record may be."""
        parts = self._parts
        outcome_id = uuid7(parts.clock.now_ms(), parts.dice)
        if isinstance(outcome, Completed):
            outcome_id = outcome.result.result_id
        decided = self._records(job, outcome, outcome_id)
        limit = parts.settings.max_record_bytes - FRAMING_BYTES
        if decided.largest > limit:
            outcome = too_large(outcome)
            decided = self._records(job, outcome, outcome_id)
            if decided.largest > limit:  # the limit was lowered since
                job.incoming = replace(job.incoming, key=None, value=None, headers=())
                decided = self._records(job, outcome, outcome_id)
        job.outcome, job.decided = outcome, self._booked(job, outcome, decided)

    def book_again(self, job: Job) -> None:
        """Add what an outcome cost to what the lane has spent by now: it may be another's sum."""
        if job.outcome is not None and job.decided is not None:
            topic = self._parts.settings.topics.spend
            records = tuple(one for one in job.decided.records if one.topic != topic)
            booked = self._booked(job, job.outcome, replace(job.decided, records=records))
            job.decided = job.decided if job.bare else booked

    def _booked(self, job: Job, outcome: Outcome, decided: Decided) -> Decided:
        """Add what the tenant has spent, whether or not somebody watches over it yet."""
        parts, intent = self._parts, job.who.intent
        for crossing in parts.spending.news():
            parts.events.on_crossing(crossing)
        if intent is None:
            return decided
        if outcome.paid == NOTHING:
            return decided
        record, crossings = parts.spending.add(
            self._lane, intent.tenant, outcome.paid, parts.clock.now()
        )
        for crossing in crossings:
            parts.events.on_crossing(crossing)
        spent = spend_record(parts.settings.topics, record)
        return Decided(decided.outcome_id, decided.ledger, (*decided.records, spent))

    def _records(self, job: Job, outcome: Outcome, outcome_id: str) -> Decided:
        parts, who = self._parts, job.who
        decided = outcome_records(
            parts.settings.topics,
            job.incoming,
            job.who,
            outcome,
            lane=self._lane,
            outcome_id=outcome_id,
            worker=parts.worker,
            group=parts.settings.worker_group,
            now=parts.clock.now(),
            by_reference=parts.settings.hybrid_dead_letters == "reference",
        )
        vault = parts.events.contents.vault
        if vault is None or not vault.seals:
            return decided
        whose = Whose(
            who.intent.tenant if who.intent else "default",
            who.intent.user_id if who.intent else "",
            who.intent_id,
        )
        now_ms = parts.clock.now_ms()
        records = vault.sealed(decided.records, whose, lane=self._lane, now_ms=now_ms)
        return replace(decided, records=records)

    def note_duplicate(self, job: Job, delivery: Delivery, who: Identity) -> None:
        """Have a job tell of a record that repeats it."""
        parts = self._parts
        job.extra.append(
            duplicate_records(
                parts.settings.topics,
                delivery.incoming,
                who,
                event_id=uuid7(parts.clock.now_ms(), parts.dice),
                worker=parts.worker,
                now=parts.clock.now(),
            )
        )
        parts.log(LogEvent.DUPLICATE_IGNORED, intent_id=who.intent_id, lane=self._lane)

    def shrink(self, job: Job) -> bool:
        """Put a minimal dead letter in place of what the broker refused; False: it is one already.

        It has the source's coordinates and none of its bytes: whatever was wrong with them is gone.
        What was paid stays on record, beside it where even that is too much.
        """
        parts, outcome = self._parts, job.outcome
        if job.extra:
            # Events about repeats are for information: an intent is not lost for them.
            parts.log(LogEvent.RECORD_PASSED_OVER, level="warning", lane=self._lane, dropped=True)
            job.extra.clear()
            job.extra_sent = 0
            return True
        if outcome is None or job.decided is None or job.bare:
            return False
        spent: tuple[OutRecord, ...] = ()
        if isinstance(outcome, Failed) and outcome.code == REFUSED:
            if outcome.last_attempt is not None:
                parts.journal.post(outcome.last_attempt, job.who.traceparent)
            failed = replace(outcome, last_attempt=None)
            job.bare = True
        else:
            failed = refused(outcome)
            topic = parts.settings.topics.spend
            spent = tuple(one for one in job.decided.records if one.topic == topic)
        job.incoming = replace(job.incoming, key=None, value=None, headers=())
        decided = self._records(job, failed, uuid7(parts.clock.now_ms(), parts.dice))
        job.outcome = failed
        job.decided = replace(decided, records=(*decided.records, *spent))
        return True


def internal(code: str, after: Outcome | None = None) -> Failed:
    """Say that a defect of ours ended an intent; `code` names the error's class.

    `after` is the outcome that could not be written: what it cost stays.
    """
    failed = Failed(
        reason=DeadLetterReason.INTERNAL,
        error_class=ErrorClass.UNKNOWN,
        code=code,
        message="the orchestrator failed on this intent; its log names the place",
        retriable=True,
        suggested_action="report the defect with the log line, then replay",
    )
    return failed if after is None else _paid_for(failed, after)


def kills_workers(starts: int) -> Failed:
    """Say that an intent was started so often without an end."""
    return Failed(
        reason=DeadLetterReason.POISON,
        error_class=ErrorClass.UNKNOWN,
        code="kills_workers",
        message=f"{starts} workers ended while they worked on this intent",
        retriable=True,
        suggested_action="find out why workers ended (memory, a defect), then replay",
        spent_usd=None,
        paid=Paid(unpriced=starts),  # what each was called for, if it was, nobody knows
    )


def too_large(outcome: Outcome) -> Failed:
    """Say that an outcome does not fit into a record."""
    failed = Failed(
        reason=DeadLetterReason.INTERNAL,
        error_class=ErrorClass.VALIDATION,
        code="outcome_too_large",
        message="the outcome is larger than a record may be",
        retriable=False,
        suggested_action="lower max_output_tokens, or raise HYBRID_MAX_INTENT_BYTES, then replay",
    )
    return _paid_for(failed, outcome)


def refused(outcome: Outcome) -> Failed:
    """Say that the broker would not take an outcome."""
    failed = Failed(
        reason=DeadLetterReason.INTERNAL,
        error_class=ErrorClass.VALIDATION,
        code=REFUSED,
        message="the broker refuses the outcome's records; the original is at its source only",
        retriable=False,
        suggested_action="compare max.message.bytes of the topics with HYBRID_MAX_INTENT_BYTES",
    )
    return _paid_for(failed, outcome)


def _paid_for(failed: Failed, outcome: Outcome) -> Failed:
    """Take over what an outcome had cost, which stays whatever becomes of its records."""
    attempt = outcome.last_attempt
    if attempt is not None:  # its answer is not delivered
        attempt = attempt.model_copy(update={"used_result": False})
    return replace(failed, last_attempt=attempt, spent_usd=_spent(outcome), paid=outcome.paid)


def _spent(outcome: Outcome) -> Decimal | None:
    """Give what an intent has cost by its outcome."""
    match outcome:
        case Completed(result=result):
            return result.total_cost_usd
        case Failed(spent_usd=spent):
            return spent
        case Deferred(state=state):
            return state.spent_usd
        case _:
            assert_never(outcome)


def spend_record(topics: Topics, record: SpendRecord) -> OutRecord:
    """Build the record of what a lane has spent for a tenant."""
    key = f"{record.lane}/{record.tenant}".encode()
    return OutRecord(topics.spend, key, record.written, partition=record.lane)
