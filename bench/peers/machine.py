"""What /proc says: CPU and memory of a process group, of the whole machine, and its speed."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "Usage", "await_quiet", "cpu_of", "machine_now", "speed_ms", "usage_of_group"]

TICKS = os.sysconf("SC_CLK_TCK")
#: A broker that idles takes some of this.
QUIET_CORES, LOOK_S = 0.15, 1.0
#: Of /proc/PID/stat after the name in brackets, which may hold blanks: man 5 proc counts from 3.
GROUP, USER, SYSTEM = 5 - 3, 14 - 3, 15 - 3


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all processes of a group: CPU seconds (user and system), and peak memory in MB."""

    cpu_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Machine:
    """Of the whole machine since its start: CPU seconds that were busy, and stolen by others."""

    busy_s: float
    stolen_s: float


def _stat(pid: int | str) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None  # gone meanwhile
    return text.rpartition(")")[2].split()


def _cpu_s(fields: list[str]) -> float:
    return (int(fields[USER]) + int(fields[SYSTEM])) / TICKS


def cpu_of(pid: int) -> float:
    """Give the CPU seconds of one process; 0 when it is gone."""
    fields = _stat(pid)
    return _cpu_s(fields) if fields else 0.0


def usage_of_group(group: int) -> Usage:
    """Sum up the processes of a process group."""
    cpu_s = peak_kb = 0.0
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names only, four times a second
        if not entry.isdigit():
            continue
        fields = _stat(entry)
        if fields is None or int(fields[GROUP]) != group:
            continue
        cpu_s += _cpu_s(fields)
        peak_kb += _peak_kb(entry)
    return Usage(cpu_s, peak_kb / 1024)


def _peak_kb(pid: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) for line in lines.splitlines() if line.startswith("VmHWM")), 0
    )


def machine_now() -> Machine:
    """Read the machine's own counters."""
    line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    user, nice, system, _idle, _wait, _irq, _soft, stolen = (
        int(one) / TICKS for one in line.split()[1:9]
    )
    return Machine(user + nice + system, stolen)


def await_quiet(within_s: float) -> bool:
    """Wait until less than QUIET_CORES are busy; False when they still are at the end."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        before, at = machine_now(), time.monotonic()
        time.sleep(LOOK_S)
        if (machine_now().busy_s - before.busy_s) / (time.monotonic() - at) < QUIET_CORES:
            return True
    return False


def speed_ms() -> float:
    """Time a fixed piece of Python, in CPU milliseconds: how fast a core is just now."""
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        kept: dict[int, tuple[int, str]] = {}
        for number in range(60_000):
            kept[number & 255] = (number * 7, str(number))
        best = min(best, time.process_time() - begun)
    return best * 1000
