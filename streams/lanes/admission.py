"""Whether a delivery runs, or has been decided already, by the ledger; pure."""

from enum import Enum

from pydantic import ValidationError

from schemas.batches import BatchAnswer
from schemas.topics import Topics
from schemas.vocabulary import WorkflowStatus
from streams.lanes.ledger import Entry, Ledger
from streams.messages.records import BATCH_ANSWER_HEADER, Identity, Incoming, header

__all__ = ["Admission", "admit", "batch_answer"]


class Admission(Enum):
    """What becomes of a delivery whose intent is not in flight."""

    RUN = "run"  # nothing is decided, a deferral is due, or it is replayed
    DONE = "done"  # its own record, decided and read again: nothing is written
    DUPLICATE = "duplicate"  # another record of the same intent: an event says so


def admit(
    ledger: Ledger, who: Identity, incoming: Incoming, topics: Topics, *, now_ms: int
) -> Admission:
    """Decide by the ledger whether a delivery runs."""
    entry = _decision_about(ledger, who, incoming, topics)
    if ledger.replays.knows(who):  # for as long as its dead letter can be replayed
        own = entry is not None and _is_same_record(entry, who, incoming, topics)
        return Admission.DONE if own else Admission.DUPLICATE
    if entry is None or _must_run(entry, who):
        return Admission.RUN
    if _is_same_record(entry, who, incoming, topics):
        return Admission.DONE  # however long ago it was decided
    written_ms = min(now_ms, incoming.timestamp_ms)
    return Admission.RUN if ledger.is_over(entry, at_ms=written_ms) else Admission.DUPLICATE


def _decision_about(
    ledger: Ledger, who: Identity, incoming: Incoming, topics: Topics
) -> Entry | None:
    """Find what the ledger says, also where it was written before tenants were told apart.

    An entry under the plain id may be another tenant's: it counts for its own record only.
    """
    entry = ledger.get(who.key)
    if entry is not None or who.key == who.stated_key or who.intent is None:
        return entry
    earlier = ledger.get(who.stated_key)
    if earlier is None or not _is_same_record(earlier, who, incoming, topics):
        return None
    return earlier


def _must_run(entry: Entry, who: Identity) -> bool:
    """Whether a decided intent has to run again: its deferral is due, or it is replayed."""
    if who.replay_count > entry.replay_count:
        return entry.status is WorkflowStatus.FAILED
    return (
        entry.status is WorkflowStatus.DEFERRED
        and who.deferral is not None
        and who.deferral.hop == entry.deferrals
    )


def _is_same_record(entry: Entry, who: Identity, incoming: Incoming, topics: Topics) -> bool:
    if who.deferral is not None and incoming.topic in topics.deferred:
        return True  # an older hop of the same intent, read again
    return (
        entry.offset == incoming.offset
        and entry.topic_index < len(topics.sources)
        and topics.sources[entry.topic_index] == incoming.topic
    )


def batch_answer(
    incoming: Incoming, who: Identity, ledger: Ledger, topics: Topics
) -> BatchAnswer | None:
    """Read what came of an intent's line in a batch; None where it is not of our own writing.

    Only who waits in a batch by the ledger, and comes back where its lane reads, brings one.
    """
    if who.deferral is None or incoming.topic not in topics.deferred:
        return None
    raw, entry = header(incoming.headers, BATCH_ANSWER_HEADER), ledger.get(who.key)
    if raw is None or entry is None or entry.status is not WorkflowStatus.DEFERRED:
        return None
    if entry.deferrals != who.deferral.hop:
        return None
    try:
        return BatchAnswer.model_validate_json(raw)
    except ValidationError:
        return None
