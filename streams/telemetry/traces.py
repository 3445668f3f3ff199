"""The traces of a worker's intents: hears what begins and ends, and hands spans over.

Nothing here raises, waits or writes: what cannot be told is counted, and the work goes on.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from agents.clock import Clock
from agents.log import Log
from schemas.attempt import ProviderAttempt
from schemas.vocabulary import AttemptStatus, LogEvent
from streams.telemetry.building import call_spans, end_spans
from streams.telemetry.spans import Begun, Reader, Span, Work, begin

__all__ = ["NOBODY", "Hears", "Outbox", "Traces"]

#: Executions whose trace is remembered for calls that end after them; some hundred bytes each.
MOST_REMEMBERED = 16_384


class Outbox(Protocol):
    """Where spans go."""

    def samples(self, begun: Begun, name: str, /) -> bool:
        """Whether the spans of this execution are wanted."""

    def put(self, span: Span) -> None:
        """Take a span; never waits, drops it where there is no room."""

    def count_lost(self, spans: int) -> None:
        """Count spans that are told to nobody."""


class Hears(Protocol):
    """What hears of intents that begin and end."""

    def begun(self, work: Work) -> None:
        """Hear that a job begins."""

    def ended(self, attempt: ProviderAttempt) -> None:
        """Hear that a call has ended."""

    def committed(self, work: Work) -> None:
        """Hear that an outcome is committed."""


class Nobody:
    """Hears nothing: no collector is named."""

    def begun(self, work: Work) -> None:
        """Do nothing."""

    def ended(self, attempt: ProviderAttempt) -> None:
        """Do nothing."""

    def committed(self, work: Work) -> None:
        """Do nothing."""


NOBODY = Nobody()


class Traces:
    """Makes spans of jobs and calls; one for each worker."""

    def __init__(
        self, outbox: Outbox, reader: Reader, *, clock: Clock, log: Log, most: int = MOST_REMEMBERED
    ) -> None:
        """Remember no execution yet, and `most` at once."""
        self._outbox, self._reader = outbox, reader
        self._clock, self._log = clock, log
        self._most = most
        #: By tenant and intent; None = nobody wants its spans.
        self._begun: OrderedDict[tuple[str, str], Begun | None] = OrderedDict()

    def begun(self, work: Work) -> None:
        """Hear that a job begins."""
        self._safely(lambda: self._begin(work))

    def ended(self, attempt: ProviderAttempt) -> None:
        """Hear that a call has ended; of one that has begun there is no span."""
        if attempt.status is AttemptStatus.FINISHED:
            self._safely(lambda: self._end_call(attempt))

    def committed(self, work: Work) -> None:
        """Hear that an outcome is committed, and with it the call that it ended with."""
        self._safely(lambda: self._commit(work))

    def _begin(self, work: Work) -> Begun | None:
        begun = begin(work, work.execution_id or (work.decided.outcome_id if work.decided else ""))
        if begun is not None and not self._outbox.samples(begun, f"process {work.incoming.topic}"):
            begun = None
        name = (work.who.tenant, work.who.intent_id)
        self._begun[name] = begun
        self._begun.move_to_end(name)
        if len(self._begun) > self._most:
            self._begun.popitem(last=False)
        return begun

    def _end_call(self, attempt: ProviderAttempt) -> None:
        begun = self._begun.get((attempt.tenant, attempt.intent_id))
        if begun is not None:
            for span in call_spans(begun, attempt, self._reader):
                self._outbox.put(span)

    def _commit(self, work: Work) -> None:
        name = (work.who.tenant, work.who.intent_id)
        is_known = bool(work.execution_id) and name in self._begun
        begun = self._begun[name] if is_known else self._begin(work)
        if begun is None or work.outcome is None:
            return
        if work.outcome.last_attempt is not None:
            self.ended(work.outcome.last_attempt)
        for span in end_spans(begun, work, self._reader, now_ms=self._clock.now_ms()):
            self._outbox.put(span)

    def _safely(self, tell: Callable[[], object]) -> None:
        try:
            tell()
        except Exception as error:  # noqa: BLE001 - a defect here must not touch the work
            self._outbox.count_lost(1)
            self._log(
                LogEvent.SPANS_LOST, level="warning", why=f"a defect ({type(error).__name__})"
            )
