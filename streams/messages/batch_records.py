"""Records of intents that wait in a batch, and that come back from one; pure."""

import base64
import binascii

from schemas.base import Headers
from schemas.batches import BatchAnswer, BatchLine
from schemas.events import DeferralState
from schemas.topics import Topics
from streams.messages.records import (
    BATCH_ANSWER_HEADER,
    BATCH_LINE_HEADER,
    DEFERRAL_HEADER,
    OWN_HEADERS,
    Incoming,
    OutRecord,
    writable_headers,
)

__all__ = ["line_record", "passed_on", "return_record"]


def line_record(
    topics: Topics, incoming: Incoming, line: BatchLine, state: DeferralState, *, lane: int
) -> OutRecord:
    """Build the record of an intent that waits in a batch; a tombstone of its key ends it."""
    told = line
    if line.key is None and incoming.key is not None:  # else it is written again
        told = line.model_copy(update={"key": base64.b64encode(incoming.key).decode()})
    headers = (
        *passed_on(incoming.headers),
        (DEFERRAL_HEADER, state.to_json()),
        (BATCH_LINE_HEADER, told.to_json()),
    )
    name = line.attempt.attempt_id.encode()
    return OutRecord(topics.batches, name, incoming.value or b"", headers, partition=lane)


def return_record(
    topics: Topics, waiting: Incoming, line: BatchLine, state: DeferralState, answer: BatchAnswer
) -> OutRecord:
    """Build the record with which an intent goes back to its lane, at once, with what came of it.

    It is the hop that the lane has written into its ledger: whoever writes it twice is heard once.
    """
    headers = (
        *passed_on(waiting.headers),
        (DEFERRAL_HEADER, state.model_copy(update={"due_at_ms": 0}).to_json()),
        (BATCH_ANSWER_HEADER, answer.to_json()),
    )
    partition = waiting.partition
    return OutRecord(topics.deferred[0], _key(line), waiting.value, headers, partition=partition)


def _key(line: BatchLine) -> bytes | None:
    try:
        return None if line.key is None else base64.b64decode(line.key, validate=True)
    except (binascii.Error, ValueError):
        return None


def passed_on(headers: Headers) -> Headers:
    """Give what of an intent's headers goes on with it: none of our own."""
    return tuple(pair for pair in writable_headers(headers) if pair[0] not in OWN_HEADERS)
