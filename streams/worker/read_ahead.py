"""What is read ahead: bounded in records and bytes, by pausing partitions; offsets kept in order.

Urgent topics have a bound of their own: however much other work is waiting, they are read on. Of a
deferred topic only a few records that are not due yet are read, for those behind them are due
later; what is due and waits for a provider holds up nothing behind it, as in the other topics.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from schemas.topics import Topics
from streams.lanes.job import Delivery
from streams.messages.offset_tracker import OffsetTracker

__all__ = ["FlowControl", "ReadAhead", "TopicPartitionKey", "WorkClass", "class_of"]

#: A few records of each partition are always read, so that none is starved by the others; …
FEW_RECORDS = 64
#: … but not more than this many bytes of them.
FEW_BYTES = 1024 * 1024
#: Of the shortest delay more is read: there what has a time of its own (`not_before`) waits for its
#: last seconds, and is due in any order.
FEW_OF_SHORTEST = 2_000
#: A deferred partition that was paused for what is not due is read on at this many of it.
LOW_WATER = 16
#: What may be read ahead beyond that: fairness between tenants reaches this far.
READ_AHEAD_RECORDS = 25_000
READ_AHEAD_BYTES = 64 * 1024 * 1024
#: Paused partitions are resumed when what is read ahead has fallen to this share.
RESUME_SHARE = 0.75

TopicPartitionKey = tuple[str, int]
WorkClass = Literal["urgent", "ordinary", "deferred"]


class FlowControl(Protocol):
    """Stops and starts the fetching of one partition."""

    def pause(self, topic: str, partition: int) -> None:
        """Fetch no more from it."""
        ...

    def resume(self, topic: str, partition: int) -> None:
        """Fetch from it again."""
        ...


def class_of(topics: Topics, topic: str) -> WorkClass:
    """Say which queue the records of a source topic stand in."""
    if topic == topics.urgent:
        return "urgent"
    return "ordinary" if topic == topics.intents else "deferred"


@dataclass(eq=False)
class _Partition:
    tracker: OffsetTracker = field(default_factory=OffsetTracker)
    waiting: int = 0
    bytes: int = 0
    paused: bool = False
    #: Of what waits here, what is not due yet: when it is, and its bytes; the earliest first.
    undue: list[tuple[float, int]] = field(default_factory=list)
    undue_bytes: int = 0
    #: So many of them are read ahead.
    few: int = FEW_RECORDS

    @property
    def has_few_undue(self) -> bool:
        """Whether no more is to be read until some of it is due."""
        return len(self.undue) >= self.few or self.undue_bytes >= FEW_BYTES

    def pass_due(self, now: float) -> None:
        """Take what is due by now out of what is not."""
        while self.undue and self.undue[0][0] <= now:
            self.undue_bytes -= heapq.heappop(self.undue)[1]


@dataclass(slots=True)
class _Amount:
    records: int = 0
    bytes: int = 0

    @property
    def share(self) -> float:
        """Of what may be read ahead; 1 = all of it."""
        return max(self.records / READ_AHEAD_RECORDS, self.bytes / READ_AHEAD_BYTES)


class ReadAhead:
    """Which records are here and have not begun, by partition."""

    def __init__(self, topics: Topics, flow: FlowControl) -> None:
        """Begin empty, with nothing paused."""
        self._topics = topics
        self._flow = flow
        self._partitions: dict[TopicPartitionKey, _Partition] = {}
        self._amounts: dict[WorkClass, _Amount] = {}
        self.clear()

    def deliver(self, topic: str, partition: int, offset: int) -> OffsetTracker | None:
        """Note a record as delivered; None when it was delivered before in this ownership.

        One from below what has been committed begins the partition anew: the topic was deleted and
        made again. Where it was not, the ledger knows what has been decided.
        """
        place = self._partitions.get((topic, partition))
        if place is None:
            few = FEW_OF_SHORTEST if topic == self._topics.deferred[0] else FEW_RECORDS
            place = self._partitions[topic, partition] = _Partition(few=few)
        if place.tracker.is_behind(offset):
            place.tracker = OffsetTracker()
        return place.tracker if place.tracker.deliver(offset) else None

    def came(self, delivery: Delivery) -> None:
        """Book a delivery in, and stop reading its partition where that is enough."""
        topic, number = delivery.incoming.topic, delivery.incoming.partition
        partition, kind = self._partitions[topic, number], class_of(self._topics, topic)
        self._book(kind, partition, 1, delivery.size)
        if delivery.due_at:
            heapq.heappush(partition.undue, (delivery.due_at, delivery.size))
            partition.undue_bytes += delivery.size
        if not partition.paused and self._enough(kind, partition):
            partition.paused = True
            self._flow.pause(topic, number)

    def went(self, delivery: Delivery) -> None:
        """Book a delivery out, and read on where that makes room."""
        topic, number = delivery.incoming.topic, delivery.incoming.partition
        partition, kind = self._partitions[topic, number], class_of(self._topics, topic)
        self._book(kind, partition, -1, -delivery.size)
        if self._amounts[kind].share <= RESUME_SHARE:
            for key, other in self._partitions.items():
                if class_of(self._topics, key[0]) == kind:
                    self._read_on(key, other)
        elif not self._has_few(partition):
            self._read_on((topic, number), partition)

    def look(self, now: float) -> float | None:
        """Read on where what was not due is; gives the seconds until it is worth looking again."""
        waits = []
        room = self._amounts["deferred"].share <= RESUME_SHARE
        for key, partition in self._partitions.items():
            partition.pass_due(now)
            if not partition.paused:
                continue
            if room and class_of(self._topics, key[0]) == "deferred":
                self._read_on(key, partition)
            if partition.undue:
                waits.append(partition.undue[0][0] - now)
        return min(waits, default=None)

    def clear(self) -> None:
        """Forget everything: it is read again by whoever has the partitions next."""
        self._partitions.clear()
        self._amounts = {"urgent": _Amount(), "ordinary": _Amount(), "deferred": _Amount()}

    def waiting_in(self, lanes: Mapping[int, object]) -> int:
        """Count what waits to begin in some lanes; deferred records may wait as they like."""
        return sum(
            one.waiting
            for (topic, number), one in self._partitions.items()
            if number in lanes and class_of(self._topics, topic) != "deferred"
        )

    def committable(self) -> dict[TopicPartitionKey, int]:
        """Give the offsets to commit."""
        found = {key: one.tracker.committable() for key, one in self._partitions.items()}
        return {key: offset for key, offset in found.items() if offset is not None}

    def committed(self, offsets: Mapping[TopicPartitionKey, int]) -> None:
        """Take note of what the broker has."""
        for key, offset in offsets.items():
            if key in self._partitions:
                self._partitions[key].tracker.committed(offset)

    def _book(self, kind: WorkClass, partition: _Partition, records: int, size: int) -> None:
        partition.waiting += records
        partition.bytes += size
        self._amounts[kind].records += records
        self._amounts[kind].bytes += size

    @staticmethod
    def _has_few(partition: _Partition) -> bool:
        return partition.waiting >= FEW_RECORDS or partition.bytes >= FEW_BYTES

    def _enough(self, kind: WorkClass, partition: _Partition) -> bool:
        """Whether no more is to be read from a partition for now."""
        if partition.has_few_undue:
            return True
        return self._has_few(partition) and self._amounts[kind].share >= 1

    def _read_on(self, key: TopicPartitionKey, partition: _Partition) -> None:
        waits = (
            len(partition.undue) > partition.few - FEW_RECORDS + LOW_WATER
            or partition.undue_bytes >= FEW_BYTES
        )
        if partition.paused and not waits:
            partition.paused = False
            self._flow.resume(*key)
