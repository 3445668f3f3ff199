"""The parts of a local stack: children that are started again when they end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hybrid.stack.process import Child

__all__ = ["WORKER_STOP_S", "Part", "Report", "stop_in_order", "told_by_tens"]

#: A worker may take so long to finish its calls.
WORKER_STOP_S = 40
SERVER_STOP_S = 20
#: A part that keeps ending is started again after at most this long.
MAX_RESTART_DELAY_S = 5.0
#: Running this long counts as healthy: the next restart is immediate again.
HEALTHY_AFTER_S = 30.0

Report = Callable[[str], None]


@dataclass
class Part:
    """A supervised child and how to start it again; times in seconds on the monotonic clock."""

    child: Child
    start: Callable[[], Child]
    started_at: float
    delay: float = 0.0
    restart_at: float | None = None

    def keep_up(self, name: str, now: float, *, report: Report) -> bool:
        """Start it again if it has ended and its pause is over; whether it was started."""
        status = self.child.exit_status()
        if status is None:
            return False
        if self.restart_at is None:
            healthy = now - self.started_at > HEALTHY_AFTER_S
            self.delay = 0.0 if healthy else min(self.delay * 2 + 0.1, MAX_RESTART_DELAY_S)
            self.restart_at = now + self.delay
            report(f"{name} ended with status {status}; starting it again")
        if now < self.restart_at:
            return False
        self.child, self.restart_at, self.started_at = self.start(), None, now
        return True


def stop_in_order(parts: Mapping[str, Part]) -> None:
    """End every part: first those that use the others."""
    using = ("worker", "recorder", "console")
    users = [one.child for name, one in parts.items() if name.startswith(using)]
    others = [one.child for one in parts.values() if one.child not in users]
    for children, within_s in ((users, WORKER_STOP_S), (others, SERVER_STOP_S)):
        for child in children:
            child.ask_to_stop()
        for child in children:
            child.stop(within_s=within_s)


def told_by_tens(report: Report) -> Callable[[int, int], None]:
    """Give what takes bytes done and bytes in all, and reports each ten percent of Kafka's jars."""
    last = -1

    def on_progress(done: int, total: int) -> None:
        nonlocal last
        percent = done * 100 // total
        if percent // 10 > last // 10:
            last = percent
            report(f"Kafka's jars: {percent} % of {total // 1_000_000} MB")

    return on_progress
