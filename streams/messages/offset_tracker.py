"""How far each partition is done: offsets are committed strictly in order; pure.

Faust's own book-keeping is not used: it commits past messages in flight when acknowledgements
come out of order (its issue 606), past the message that follows a transaction marker (its gap
interval includes the message itself), and it drops what it reads again after a rebalance when a
later record slipped in before.
"""

import heapq

__all__ = ["OffsetTracker"]

#: A head that waits for hours may have a million offsets behind it.
CHUNK = 1024
#: So many done offsets, and as many as are open, may be left in the heap.
SLACK = 1024


class OffsetTracker:
    """One partition: which offsets were delivered and which of them are done."""

    def __init__(self) -> None:
        """Begin without deliveries: nothing can be committed yet."""
        #: Delivered, and not below what may be committed: CHUNK of them a number, a bit each.
        self._seen: dict[int, int] = {}
        self._open: set[int] = set()
        self._heap: list[int] = []  # the open offsets, with done ones left in until they surface
        self._next: int | None = None
        self._floor: int | None = None
        self._committed: int | None = None

    def deliver(self, offset: int) -> bool:
        """Note an offset as delivered; False when it was delivered before in this ownership."""
        chunk, bit = offset // CHUNK, 1 << offset % CHUNK
        seen = self._seen.get(chunk, 0)
        if seen & bit or self.is_behind(offset):
            return False
        self._seen[chunk] = seen | bit
        self._open.add(offset)
        heapq.heappush(self._heap, offset)
        self._next = offset + 1 if self._next is None else max(self._next, offset + 1)
        return True

    def is_behind(self, offset: int) -> bool:
        """Whether an offset lies below what has been committed."""
        return self._floor is not None and offset < self._floor

    def done(self, offset: int) -> None:
        """Note an offset as done; unknown ones are ignored."""
        self._open.discard(offset)
        if len(self._heap) > SLACK + 2 * len(self._open):  # they do not surface behind a head
            self._heap = sorted(self._open)

    def committable(self) -> int | None:
        """Give the offset to commit (the next one to read), or None when nothing is new."""
        if self._next is None:
            return None
        while self._heap and self._heap[0] not in self._open:
            heapq.heappop(self._heap)
        offset = self._heap[0] if self._heap else self._next
        return None if offset == self._committed else offset

    def committed(self, offset: int) -> None:
        """Note what the broker has; what lies below is never taken again."""
        self._committed = self._floor = offset
        for chunk in [one for one in self._seen if (one + 1) * CHUNK <= offset]:
            del self._seen[chunk]
