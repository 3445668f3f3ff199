"""Records on their way through Faust, many in one message, and the agents that hand them on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from faust.types import TP
from faust.types.tuples import Message

from agents.clock import Clock
from streams.messages.moments import usable_timestamp_ms
from streams.messages.records import Incoming, readable_headers

__all__ = ["BATCH_RECORDS", "Batch", "batches", "handing_on"]

#: Records that are handed on at once, and not more: the loop has other work.
BATCH_RECORDS = 100


class Batch(Message):  # type: ignore[misc] # the library has no types
    """Records of one topic as one message of Faust's.

    Faust's two tasks and an event a record cost much, and the records came one by one between all
    other work: alone, an intent shares no request and no transaction with another. A message for
    each partition is no better where many have a record: they are handed on in turns with all
    other work, and while one of them waits to be taken aiokafka asks for the partitions that have
    nothing, for half a second (`fetch_max_wait_ms`): intents waited 300 ms to be read (seen).
    """

    __slots__ = ("records",)

    @classmethod
    def of(cls, tp: TP, records: Sequence[Any], generation: int) -> Self:
        """Wrap records as they were fetched, at least one."""
        last = records[-1]
        message = cls(
            tp.topic,
            tp.partition,
            last.offset,
            0.0,
            0,
            None,
            b"",
            b"",
            None,
            tp=tp,
            generation_id=generation,
        )
        message.records = records
        return message


def batches(fetched: Mapping[TP, Sequence[Any]]) -> Iterator[tuple[TP, Sequence[Any]]]:
    """Divide what a fetch brought: by topic, each part with a partition it is from.

    What is of one partition keeps its order.
    """
    topics: dict[str, list[Any]] = {}
    firsts: dict[str, TP] = {}
    for tp, records in fetched.items():
        firsts.setdefault(tp.topic, tp)
        topics.setdefault(tp.topic, []).extend(records)
    for topic, records in topics.items():
        for begin in range(0, len(records), BATCH_RECORDS):
            yield firsts[topic], records[begin : begin + BATCH_RECORDS]


def handing_on(put: Callable[[Incoming], None], clock: Clock) -> Callable[..., Any]:
    """Make an agent's body: it only hands on."""

    async def hand_on(stream: Any) -> None:  # noqa: ANN401 - Faust's streams are not typed
        async for event in stream.noack().events():
            now_ms = clock.now_ms()
            # Nothing may wait in between: a rebalance would make the rest records of before it.
            for record in event.message.records:
                put(
                    Incoming(
                        topic=record.topic,
                        partition=record.partition,
                        offset=record.offset,
                        timestamp_ms=usable_timestamp_ms(record.timestamp, now_ms=now_ms),
                        key=record.key,
                        value=record.value,
                        headers=_headers(record.headers),
                        written_ms=record.timestamp,
                    )
                )

    return hand_on


def _headers(raw: Any) -> tuple[tuple[str, bytes], ...]:  # noqa: ANN401
    pairs = raw.items() if isinstance(raw, Mapping) else (raw or ())
    return readable_headers(pairs)
