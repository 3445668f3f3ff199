"""Sets of places of records, partition and offset, in a bit each; pure."""

from collections.abc import Iterable, Iterator

__all__ = ["Place", "Places", "packed", "unpacked"]

#: Partition and offset of a dead letter.
Place = tuple[int, int]
#: Offsets whose bits stand in one page.
PAGE = 65_536


class Places:
    """A set of places: what is added grows it by a page of 8 KiB for 65,536 offsets at most."""

    def __init__(self, places: Iterable[Place] = ()) -> None:
        """Begin with some."""
        self._pages: dict[Place, bytearray] = {}
        self._count = 0
        for place in places:
            self.add(place)

    def __len__(self) -> int:
        """Count them."""
        return self._count

    def __contains__(self, place: Place) -> bool:
        """Whether a place is one of them."""
        page = self._pages.get((place[0], place[1] // PAGE))
        at = place[1] % PAGE
        return page is not None and bool(page[at >> 3] & 1 << (at & 7))

    def add(self, place: Place) -> None:
        """Take a place in; nothing where it is there."""
        if place in self:
            return
        name, at = (place[0], place[1] // PAGE), place[1] % PAGE
        if name not in self._pages:
            self._pages[name] = bytearray(PAGE // 8)
        self._pages[name][at >> 3] |= 1 << (at & 7)
        self._count += 1

    def discard(self, place: Place) -> None:
        """Take a place out; nothing where it is not there."""
        if place in self:
            at = place[1] % PAGE
            self._pages[place[0], place[1] // PAGE][at >> 3] &= ~(1 << (at & 7))
            self._count -= 1

    def partitions(self) -> list[int]:
        """Give the partitions of which there are places, in order."""
        return sorted({partition for partition, _ in self._pages})

    def offsets(self, partition: int) -> Iterator[int]:
        """Give the offsets of a partition, in order."""
        for name in sorted(name for name in self._pages if name[0] == partition):
            page = self._pages[name]
            for number, byte in enumerate(page):
                if byte:
                    first = name[1] * PAGE + number * 8
                    yield from (first + bit for bit in range(8) if byte & 1 << bit)

    def __iter__(self) -> Iterator[Place]:
        """Give all of them, by partition and offset."""
        for partition in self.partitions():
            for offset in self.offsets(partition):
                yield partition, offset


def packed(offsets: Iterable[int]) -> list[int]:
    """Give ascending offsets as the first, and how much further each next one is."""
    found, before = [], 0
    for offset in offsets:
        found.append(offset - before)
        before = offset
    return found


def unpacked(steps: Iterable[int]) -> Iterator[int]:
    """Give the offsets that were packed."""
    offset = 0
    for step in steps:
        offset += step
        yield offset
