"""Time, chance and identity as arguments; the only module of the product that reads them."""

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "Dice", "ManualClock", "SystemClock", "SystemDice", "uuid7"]


#: A lease must not outlive a host's sleep, during which Linux's CLOCK_MONOTONIC stands still.
MONOTONIC = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Wall time for records, monotonic time for durations, and the one way to wait."""

    def now(self) -> datetime:
        """Give the wall time in UTC."""
        ...

    def now_ms(self) -> int:
        """Give the wall time in milliseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Give seconds on a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Dice(Protocol):
    """Chance."""

    def fraction(self) -> float:
        """Give a number from 0 up to, not including, 1."""
        ...

    def bits(self, count: int) -> int:
        """Give `count` random bits."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Give the wall time in UTC."""
        return datetime.fromtimestamp(time.time_ns() / 1e9, UTC)

    def now_ms(self) -> int:
        """Give the wall time in milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Give seconds on a clock that never goes back, and that goes on while the host sleeps."""
        return time.clock_gettime(MONOTONIC)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class SystemDice:
    """The process's random generator, or a seeded one."""

    def __init__(self, seed: int | None = None) -> None:
        """Seed for reproducible runs; without a seed from the operating system."""
        self._random = random.Random(seed)  # noqa: S311 - jitter and ids, no secrets

    def fraction(self) -> float:
        """Give a number from 0 up to, not including, 1."""
        return self._random.random()

    def bits(self, count: int) -> int:
        """Give `count` random bits."""
        return self._random.getrandbits(count)


class ManualClock:
    """A clock that moves only when told; waiting moves it."""

    def __init__(self, start: datetime) -> None:
        """Begin at `start`."""
        self._now = start
        self._monotonic = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        """Give the wall time in UTC."""
        return self._now

    def now_ms(self) -> int:
        """Give the wall time in milliseconds since 1970."""
        return int(self._now.timestamp() * 1000)

    def monotonic(self) -> float:
        """Give seconds on a clock that never goes back."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Move the clock by `seconds` and let other tasks run once."""
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Move both clocks."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


def uuid7(now_ms: int, dice: Dice) -> str:
    """Mint a UUIDv7 (RFC 9562 §5.7): 48 bits of milliseconds, then 74 random bits."""
    value = (now_ms & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76
    value |= dice.bits(12) << 64
    value |= 0b10 << 62
    value |= dice.bits(62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
