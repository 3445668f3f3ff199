"""What every part of executing is given: clock, chance, the worker's name, its log."""

from dataclasses import dataclass

from agents.clock import Clock, Dice, uuid7
from agents.executing.account import Execution
from agents.log import Log
from schemas.vocabulary import LogEvent

__all__ = ["Ground"]


@dataclass(frozen=True, slots=True)
class Ground:
    """Clock, chance, name and log of one worker, the same for all its intents."""

    clock: Clock
    dice: Dice
    worker: str
    log: Log
    #: Whether what is said at `info` is read: else it is not put together.
    says_info: bool = True

    def say(
        self, event: LogEvent, run: Execution, *, level: str = "info", **fields: object
    ) -> None:
        """Log an event of an execution."""
        if level != "info" or self.says_info:
            self.log(event, level=level, **run.log_fields(), **fields)

    def since_ms(self, moment: float) -> int:
        """Give the milliseconds since a moment of the monotonic clock."""
        return round((self.clock.monotonic() - moment) * 1000)

    def new_id(self) -> str:
        """Make an id that sorts by time."""
        return uuid7(self.clock.now_ms(), self.dice)
