"""What an error of a broker asks for: four kinds, decided here for all that write; pure.

- *newer*: a later version of ours wrote what we have to know: nothing here will ever read it.
- *fenced*: what we write is somebody else's now; it is never tried again.
- *deterministic*: it never passes by itself. Either one record is at fault, or a right is missing.
- *indefinite*: everything else, also what is not known yet; it is tried again, paced.
"""

from enum import Enum

from aiokafka import errors

from schemas.versions import NewerRecordError

__all__ = ["FaultKind", "RefusedWriteError", "is_awaited", "kind_of", "right_missing", "why_never"]


class FaultKind(Enum):
    """What an error asks for."""

    FENCED = "fenced"  # give up what was ours
    RECORD = "record"  # deterministic: one record is refused, whatever happens
    RIGHT = "right"  # deterministic: a right is missing, nothing of this kind will pass
    NEWER = "newer"  # deterministic: a later version wrote what we have to know
    INDEFINITE = "indefinite"  # try again


class RefusedWriteError(Exception):
    """Raised when a broker refused one record of a transaction; names its topic."""

    def __init__(self, topic: str, cause: BaseException) -> None:
        """Keep the topic and the broker's own error."""
        super().__init__(f"{topic}: {type(cause).__name__}")
        self.topic = topic
        self.cause = cause


# Not InvalidProducerEpoch: a broker also says it after it ended a transaction that took too long.
FENCED = errors.ProducerFenced
RIGHTS: dict[type[BaseException], str] = {
    errors.TopicAuthorizationFailedError: "on topic",
    errors.GroupAuthorizationFailedError: "READ on group",
    errors.ClusterAuthorizationFailedError: "IDEMPOTENT_WRITE on the cluster",
    errors.TransactionalIdAuthorizationFailed: "WRITE on transactional id",
}
RECORD = (
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.InvalidMessageError,
    errors.InvalidTimestampError,
    errors.InvalidTopicError,
    errors.RecordTooLargeError,
    errors.InvalidRequestError,
    errors.PolicyViolationError,
    errors.UnsupportedForMessageFormatError,
)
#: The client's own words for a record that it cannot encode.
UNWRITABLE = (ValueError, TypeError, AssertionError)


def is_awaited(error: BaseException) -> bool:
    """Whether it is a broker or the way to it that failed: worth trying again."""
    return isinstance(error, errors.KafkaError | TimeoutError | OSError)


def kind_of(error: BaseException) -> FaultKind:
    """Say what an error of a write asks for."""
    if isinstance(error, RefusedWriteError):
        unwritable = isinstance(error.cause, UNWRITABLE)
        return FaultKind.RECORD if unwritable else kind_of(error.cause)
    if isinstance(error, NewerRecordError):
        return FaultKind.NEWER
    if isinstance(error, FENCED):
        return FaultKind.FENCED
    if isinstance(error, tuple(RIGHTS)):
        return FaultKind.RIGHT
    return FaultKind.RECORD if isinstance(error, RECORD) else FaultKind.INDEFINITE


def right_missing(error: BaseException) -> str:
    """Name the right that a broker wants, and on what, as far as it says."""
    cause = error.cause if isinstance(error, RefusedWriteError) else error
    found = cause.args[0] if cause.args else ()
    names = [found] if isinstance(found, str) else sorted(found) if isinstance(found, set) else []
    right = next((named for kind, named in RIGHTS.items() if isinstance(cause, kind)), None)
    if right is None:
        return "a right"
    if isinstance(cause, errors.TopicAuthorizationFailedError):
        # Who reads names one topic; a transaction names all those that it may not write.
        writes = isinstance(error, RefusedWriteError) or isinstance(found, set)
        right = f"{'WRITE' if writes else 'READ'} {right}"
        names = [error.topic] if isinstance(error, RefusedWriteError) else names
    return " ".join([right, ", ".join(names)]).strip()


def why_never(error: BaseException) -> str:
    """Say of an error that never passes what to do about it."""
    if isinstance(error, NewerRecordError):
        return str(error)
    return f"the broker refuses it {right_missing(error)}; grant the right"
