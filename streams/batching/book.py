"""What stands on `workflow.batches`: lines that wait, batches, and which are to be cancelled.

A record's key says what it is: a line's attempt id, `batch/ID`, or `cancel/ID`. A line is there
until its intent has gone back; the batch that has it names it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from agents.deciding.batching import PAST, Line, Pool, goes_back_at
from schemas.batches import BatchCancel, BatchLine, BatchRecord
from schemas.codec import read_intent
from schemas.embeddings import inputs_of
from schemas.events import DeferralState
from schemas.intent import WorkflowIntent
from schemas.settings import Settings
from streams.messages.deferrals import deferral_of
from streams.messages.records import BATCH_LINE_HEADER, Incoming, header

__all__ = ["BATCH_PREFIX", "CANCEL_PREFIX", "LIVE", "Book", "Waiting"]

BATCH_PREFIX, CANCEL_PREFIX = b"batch/", b"cancel/"
#: States in which a batch has lines that wait.
LIVE = frozenset({"submitting", "submitted"})


@dataclass(frozen=True, slots=True)
class Waiting:
    """One intent that waits in a batch, or for one."""

    incoming: Incoming
    line: BatchLine
    state: DeferralState
    intent: WorkflowIntent
    #: What decides when it is gathered, and when it goes back.
    planned: Line

    @property
    def line_id(self) -> str:
        """The attempt's id, which is the line's `custom_id`."""
        return self.line.attempt.attempt_id

    def late(self) -> "Waiting":
        """Give it as one whose intent has gone back, and whose answer is still to come."""
        return replace(self, line=self.line.model_copy(update={"late": True}))


class Book:
    """The state of all batches, as the topic says it."""

    def __init__(self, settings: Settings) -> None:
        """Begin empty; the settings say what an intent may be, and when it goes back."""
        self._max_bytes = settings.hybrid_max_intent_bytes
        self._margin_ms = round(settings.hybrid_batch_margin * 1000)
        self._providers = settings.provider_specs
        self.lines: dict[str, Waiting] = {}
        self.batches: dict[str, BatchRecord] = {}
        self.cancelled: set[str] = set()
        #: Lines that stand on the topic and cannot be opened here yet: they wait all the same.
        self.unread: set[str] = set()

    def load(self, key: bytes, incoming: Incoming) -> None:
        """Take a record of before: what it says holds; raises ValueError for what is not ours."""
        if key.startswith(BATCH_PREFIX):
            record = BatchRecord.model_validate_json(incoming.value or b"")
            self.batches[record.batch_id] = record
        else:
            self.take(key, incoming)

    def take(self, key: bytes, incoming: Incoming) -> None:
        """Take a record that has come while we are at it: what we write ourselves is known."""
        if key.startswith(BATCH_PREFIX):
            return
        if key.startswith(CANCEL_PREFIX):
            cancel = BatchCancel.model_validate_json(incoming.value or b"")
            self.cancelled.add(cancel.batch_id)
        elif incoming.value is None:
            self.lines.pop(key.decode(), None)
        else:
            waiting = self._waiting(incoming)
            self.lines[waiting.line_id] = waiting

    def _waiting(self, incoming: Incoming) -> Waiting:
        state, raw = deferral_of(incoming), header(incoming.headers, BATCH_LINE_HEADER)
        if state is None or raw is None:
            message = "a line says what it is"
            raise ValueError(message)
        line = BatchLine.model_validate_json(raw)
        intent, _ = read_intent(incoming.body, max_bytes=self._max_bytes)
        deadline_at_ms = None
        if intent.deadline_ms is not None:
            begun_ms = int(state.source.timestamp.timestamp() * 1000)
            deadline_at_ms = begun_ms + intent.deadline_ms
        planned = Line(
            line_id=line.attempt.attempt_id,
            provider=line.attempt.provider,
            model=line.attempt.requested_model,
            size=2 * len(incoming.value or b""),
            since_ms=incoming.timestamp_ms,
            tokens=line.prompt_tokens,
            back_at_ms=goes_back_at(deadline_at_ms, margin_ms=self._margin_ms),
            inputs=len(inputs_of(intent)) if intent.task == "embedding" else 0,
        )
        return Waiting(incoming, line, state, intent, planned)

    @property
    def live(self) -> list[BatchRecord]:
        """The batches that have not ended."""
        return [one for one in self.batches.values() if one.state in LIVE]

    def free(self) -> list[Waiting]:
        """Give the lines that are in no batch yet."""
        taken = {name for one in self.live for name in one.lines}
        return [one for name, one in self.lines.items() if name not in taken and not one.line.late]

    def of(self, names: Iterable[str], *, late: bool = False) -> list[Waiting]:
        """Give those of some lines that wait still; or those whose intents have gone back."""
        found = (self.lines[name] for name in names if name in self.lines)
        return [one for one in found if one.line.late is late]

    def pools(self) -> dict[tuple[str, str], Pool]:
        """Give the pools that settings name, of the models that lines or batches are for."""
        limits = {
            one.name: one.batch_tokens for one in self._providers if one.batch_tokens is not None
        }
        if not limits:
            return {}
        used: dict[tuple[str, str], int] = {}
        for batch in self.live:
            who = (batch.provider, batch.model)
            used[who] = used.get(who, 0) + batch.prompt_tokens
        waiting = {(one.planned.provider, one.planned.model) for one in self.lines.values()}
        return {who: Pool(limits[who[0]], used.get(who, 0)) for who in waiting if who[0] in limits}

    def past_ms(self, provider: str, model: str) -> list[int]:
        """Give how long the last batches of a model took that were completed."""
        done = [
            (one.ended_at, one.created_at)
            for one in self.batches.values()
            if (one.provider, one.model, one.state) == (provider, model, "completed")
        ]
        took = [(ended - begun).total_seconds() for ended, begun in done[-PAST:] if ended]
        return [round(1000 * seconds) for seconds in took]
