"""Models of whose batches a provider takes no more for now."""

from agents.clock import Clock
from agents.deciding.batching import pool_pause_s
from schemas.batches import BatchRecord

__all__ = ["PoolsFull"]


class PoolsFull:
    """Models whose pool was full when a batch was made: the next one waits for some time."""

    def __init__(self, clock: Clock) -> None:
        """Hold none."""
        self._clock = clock
        #: Of each, until when (monotonic seconds), and how often in a row.
        self._until: dict[tuple[str, str], tuple[float, int]] = {}

    def hold(self, record: BatchRecord) -> bool:
        """Hold the model of a batch; false: it was held so often that its lines go otherwise."""
        who = (record.provider, record.model)
        times = self._until.get(who, (0.0, 0))[1] + 1
        pause_s = pool_pause_s(times)
        if pause_s is None:
            return False
        self._until[who] = (self._clock.monotonic() + pause_s, times)
        return True

    def had_room(self, record: BatchRecord) -> None:
        """Note that a batch of a model went through."""
        self._until.pop((record.provider, record.model), None)

    def held(self) -> set[tuple[str, str]]:
        """Give the models of which no batch is made now."""
        now = self._clock.monotonic()
        return {who for who, (until, _) in self._until.items() if now < until}
