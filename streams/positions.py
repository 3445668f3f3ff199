"""How far each partition is done: offsets are committed strictly in order; pure.

Faust's own book-keeping is not used: it commits past messages in flight when acknowledgements
come out of order (its issue 606), and past the message that follows a transaction marker (its gap
interval includes the message itself).
"""

from collections import OrderedDict

__all__ = ["Position"]


class Position:
    """One partition: which offsets were delivered and which of them are done."""

    def __init__(self) -> None:
        """Begin before the first delivery."""
        self._open: OrderedDict[int, None] = OrderedDict()
        self._next: int | None = None
        self._committed: int | None = None

    def deliver(self, offset: int) -> bool:
        """Note an offset as delivered; False when it was delivered before in this ownership."""
        if self._next is not None and offset < self._next:
            return False
        self._open[offset] = None
        self._next = offset + 1
        return True

    def done(self, offset: int) -> None:
        """Note an offset as done; unknown ones are ignored."""
        self._open.pop(offset, None)

    @property
    def waiting(self) -> int:
        """How many delivered offsets are not done."""
        return len(self._open)

    def committable(self) -> int | None:
        """Give the offset to commit (the next one to read), or None when nothing is new."""
        if self._next is None:
            return None
        offset = next(iter(self._open), self._next)
        return None if offset == self._committed else offset

    def committed(self, offset: int) -> None:
        """Note what the broker has."""
        self._committed = offset
