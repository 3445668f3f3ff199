"""One running worker for each instance id: a second one is refused before it joins the group.

A broker lets the newer of two static members win, so a mistaken second start would disturb a
healthy worker. What it tells about a member is the user data of its assignor; ours names host and
process (the client id would not do: a broker keeps that of a static member's first process, seen).
On the same host that decides at once; for another host the session timeout does: a member that is
still there after it is alive.
"""

import asyncio
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError, RebalanceInProgressError

from agents.clock import Clock
from agents.log import Log
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.kafka.clients import admin_client
from streams.kafka.diagnosis import unavailable
from streams.membership.lane_assignor import MemberData

__all__ = [
    "InstanceTakenError",
    "Process",
    "holder_of",
    "require_free_instance",
    "this_process",
]

PROCESS = re.compile(r"^(?P<host>[^/]*)/(?P<pid>\d+)/(?P<started>\d+)$")
#: Beyond the session timeout, for the broker to notice.
EXPIRY_GRACE_S = 2.0
LOOK_EVERY_S = 0.5
#: How long a group in a rebalance is asked again.
UNSETTLED_LIMIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Process:
    """One process, told apart from a later one with the same id by its start."""

    host: str
    pid: int
    started: int  # clock ticks after the host's boot; 0 where the system does not say

    def __str__(self) -> str:
        """How it is named to the group."""
        return f"{self.host}/{self.pid}/{self.started}"

    @property
    def runs(self) -> bool:
        """Whether it runs on this host now."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        state, started = _stat(self.pid)
        return state != "Z" and started == self.started


class InstanceTakenError(Exception):
    """Raised when another running worker has this HYBRID_INSTANCE_ID."""

    def __init__(self, instance: str, other: Process) -> None:
        """Say which process has the instance id, and what to do."""
        super().__init__(
            f"HYBRID_INSTANCE_ID = {instance}: another worker runs with it on {other.host} "
            f"(process {other.pid}); give each worker an id of its own"
        )


def this_process() -> Process:
    """Describe the process that asks."""
    return Process(socket.gethostname().replace("/", "-"), os.getpid(), _stat(os.getpid())[1])


async def require_free_instance(settings: Settings, *, clock: Clock, log: Log) -> None:
    """Return when no other running worker has our instance id; raises InstanceTakenError.

    Waits at most one session timeout, and only for a member on another host; raises
    BrokerUnavailableError.
    """
    instance, me = settings.hybrid_instance_id, this_process()
    if instance is None:
        return
    begun = clock.monotonic()
    patience = settings.hybrid_session_timeout + EXPIRY_GRACE_S
    async with admin_client(settings) as admin:
        while True:
            waited = clock.monotonic() - begun
            try:
                other = await _holder(admin, settings.worker_group, instance)
            except RebalanceInProgressError:
                # The group may be waiting for us, so join it: of two members the broker keeps one.
                if waited > UNSETTLED_LIMIT_S:
                    return
            except (KafkaError, TimeoutError) as error:
                # A broker that has just started has no coordinator yet.
                if waited > patience:
                    raise await unavailable(settings, error) from error
            else:
                if other is None or other == me or (other.host == me.host and not other.runs):
                    return
                if other.host == me.host or waited > patience:
                    raise InstanceTakenError(instance, other)
                log(LogEvent.INSTANCE_AWAITED, instance=instance, host=other.host)
            await clock.sleep(LOOK_EVERY_S)


async def holder_of(settings: Settings) -> Process | None:
    """Give the process that has our instance id, None where none has, or the group does not say.

    Raises BrokerUnavailableError, KafkaError, TimeoutError.
    """
    if settings.hybrid_instance_id is None:
        return None
    async with admin_client(settings) as admin:
        try:
            return await _holder(admin, settings.worker_group, settings.hybrid_instance_id)
        except RebalanceInProgressError:
            return None


async def _holder(admin: Any, group: str, instance: str) -> Process | None:  # noqa: ANN401
    """Give the process that has an instance id in the group; None for none, or a foreign one.

    Raises RebalanceInProgressError while the group does not say.
    """
    # A broker names a static member `{instance id}-{uuid}` (KIP-345).
    ours = re.compile(re.escape(instance) + r"-[0-9A-Za-z_-]{22,36}")
    async with asyncio.timeout(20):
        responses = await admin.describe_consumer_groups([group])
    for response in responses:
        for _code, _group, state, _type, _protocol, members, *_more in response.groups:
            for member_id, _client, _host, metadata, _assignment in members:
                if not ours.fullmatch(member_id):
                    continue
                if state != "Stable":
                    raise RebalanceInProgressError
                data = ConsumerProtocolMemberMetadata.decode(metadata).user_data
                found = PROCESS.match(MemberData.unpack(data).process)
                if found is not None:
                    return Process(found["host"], int(found["pid"]), int(found["started"]))
    return None


def _stat(pid: int) -> tuple[str, int]:
    """Give a process's state and start (fields 3 and 22 of Linux's /proc/PID/stat)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", 0
    fields = stat.rsplit(")", 1)[1].split()
    return fields[0], int(fields[19])
