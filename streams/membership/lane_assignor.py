"""Which member gets which lanes: by partition number, the same for every topic, sticky; pure.

Faust's own assignor falls back to round robin without tables, which scatters the topics of one
partition number over workers; two of them would then fence each other's lane for ever.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)

__all__ = ["LaneAssignor", "MemberData", "share_out"]


def share_out(lanes: Iterable[int], owned: Mapping[str, Iterable[int]]) -> dict[str, list[int]]:
    """Share lanes out evenly (counts differ by one at most), moving as few as possible.

    `owned` holds every member with the lanes it had; a lane claimed twice stays with the first
    member in name order.
    """
    members = sorted(owned)
    wanted = sorted(set(lanes))
    shares: dict[str, list[int]] = {member: [] for member in members}
    if not members:
        return shares
    base, extra = divmod(len(wanted), len(members))
    free = set(wanted)
    for member in members:
        for lane in sorted(set(owned[member]) & free):
            allowed = base + (1 if extra else 0)
            if len(shares[member]) >= allowed:
                break
            shares[member].append(lane)
            free.discard(lane)
        if len(shares[member]) > base:
            extra -= 1
    for lane in sorted(free):
        poorest = min(members, key=lambda member: (len(shares[member]), member))
        shares[poorest].append(lane)
    return {member: sorted(share) for member, share in shares.items()}


@dataclass(frozen=True, slots=True)
class MemberData:
    """What a member tells the group: the lanes it had, and which process it is."""

    lanes: tuple[int, ...] = ()
    process: str = ""

    def pack(self) -> bytes:
        """Write it as the user data of a group member."""
        return struct.pack(f">H{len(self.lanes)}i", len(self.lanes), *self.lanes) + (
            self.process.encode()
        )

    @classmethod
    def unpack(cls, data: bytes | None) -> "MemberData":
        """Read it; empty for user data that another program wrote."""
        try:
            (count,) = struct.unpack_from(">H", data or b"")
            lanes = struct.unpack_from(f">{count}i", data or b"", 2)
            return cls(lanes, (data or b"")[2 + 4 * count :].decode())
        except (struct.error, UnicodeDecodeError):
            return cls()


class LaneAssignor(AbstractPartitionAssignor):
    """The assignor of a worker; keeps its last lanes in memory and sends them as user data."""

    name = "hybrid-lanes"
    version = 1

    def __init__(self, process: str) -> None:
        """Begin without lanes; `process` names this process to the group."""
        self._data = MemberData(process=process)

    def assign(
        self,
        cluster: Any,  # noqa: ANN401 - aiokafka's, untyped
        members: Mapping[str, ConsumerProtocolMemberMetadata],
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Assign every topic's partitions by number; runs on the group's leader."""
        topics = sorted({topic for data in members.values() for topic in data.subscription})
        counts = {topic: cluster.partitions_for_topic(topic) or set() for topic in topics}
        lanes = set().union(*counts.values()) if counts else set()
        owned = {
            member: MemberData.unpack(data.user_data).lanes for member, data in members.items()
        }
        shares = share_out(lanes, owned)
        return {
            member: ConsumerProtocolMemberAssignment(
                self.version,
                [
                    (topic, [lane for lane in share if lane in counts[topic]])
                    for topic in topics
                    if topic in members[member].subscription
                ],
                b"",
            )
            for member, share in shares.items()
        }

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Tell the leader what this member reads and had."""
        return ConsumerProtocolMemberMetadata(self.version, sorted(topics), self._data.pack())

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remember the lanes for the next rebalance."""
        numbers = {number for _topic, numbers in assignment.assignment for number in numbers}
        self._data = replace(self._data, lanes=tuple(sorted(numbers)))
