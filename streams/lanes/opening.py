"""How a lane begins: its producer fences the earlier owner, then its ledger is read."""

from collections.abc import Callable

from aiokafka.errors import KafkaError

from schemas.versions import NewerRecordError
from schemas.vocabulary import LogEvent
from streams.kafka.faults import FaultKind, is_awaited, kind_of, why_never
from streams.kafka.patience import patiently
from streams.lanes.committer import Committer
from streams.lanes.job import LaneParts

__all__ = ["Opening"]

#: Whether we may open is asked again after this long, in seconds.
LEASE_LOOK_S = 0.25


class Opening:
    """Opens one lane, however often it takes; gives up when the lane is no longer wanted."""

    def __init__(
        self,
        number: int,
        parts: LaneParts,
        committer: Committer,
        *,
        wanted: Callable[[], bool],
        on_fenced: Callable[[], None],
    ) -> None:
        """`wanted` says whether the lane still opens; `on_fenced` hears that another has it."""
        self._number = number
        self._parts = parts
        self._committer = committer
        self._wanted = wanted
        self._on_fenced = on_fenced

    async def run(self) -> int | None:
        """Give the ledger's entries once the lane is open; None when it will not be."""
        tries = patiently(
            self._parts.clock,
            passes=_may_pass,
            tell=self._not_yet,
            given_up=lambda: not self._wanted(),
        )
        try:
            count: int | None = await tries(self._open_once)
        except (KafkaError, TimeoutError, OSError, NewerRecordError) as error:
            self._give_up(error)
            return None
        return count

    async def _open_once(self) -> int | None:
        while not self._parts.lease_holds():  # perhaps somebody else's by now: fence nobody
            await self._parts.clock.sleep(LEASE_LOOK_S)
            if not self._wanted():
                return None
        return await self._committer.open()

    def _not_yet(self, error: BaseException) -> None:
        self._parts.log(
            LogEvent.LANE_REOPENED, level="warning", lane=self._number, error=type(error).__name__
        )

    def _give_up(self, error: Exception) -> None:
        """Leave what is somebody else's; end the worker for what does not pass by itself."""
        kind = kind_of(error)
        if kind is FaultKind.FENCED:
            self._parts.log(LogEvent.LANE_FENCED, level="warning", lane=self._number)
            self._on_fenced()
        elif kind in {FaultKind.RIGHT, FaultKind.NEWER}:
            why = why_never(error)
            self._parts.events.on_broken(f"lane {self._number} cannot be opened: {why}")


def _may_pass(error: BaseException) -> bool:
    return is_awaited(error) and kind_of(error) not in {FaultKind.FENCED, FaultKind.RIGHT}
