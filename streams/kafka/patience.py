"""Trying again what may pass by itself: one way, by tenacity, for whatever waits for a server.

The pause doubles from one failure to the next up to a longest one, on the caller's clock. What the
committer does between two tries of a batch (start its producer anew, find out what was written,
halve the batch) is no plain repetition: it has its own loop, and takes the pause from here.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from tenacity.wait import wait_base, wait_exponential, wait_fixed

from agents.clock import Clock

__all__ = ["kept_running", "patiently", "pause_s"]

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0


def patiently(
    clock: Clock,
    *,
    passes: Callable[[BaseException], bool],
    tell: Callable[[BaseException], Awaitable[None] | None],
    given_up: Callable[[], bool] = lambda: False,
    longest_s: float = LONGEST_PAUSE_S,
    sleep: Callable[[float], Awaitable[None]] | None = None,
) -> Callable[..., Awaitable[Any]]:
    """Call a coroutine function, with arguments, until it succeeds; gives what it gives.

    `passes` says of an error whether it may pass by itself, any other is raised; `tell` hears of
    each that passes before the pause; after `given_up` says so the last error is raised. `sleep`
    takes the clock's place where a pause can be cut short.
    """

    async def call(step: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:  # noqa: ANN401
        """Try without tenacity, whose making costs more than many a write; it takes a failure."""
        try:
            return await step(*arguments)
        except Exception as error:
            if not passes(error):
                raise
            failed = [error]

        async def again() -> Any:  # noqa: ANN401
            if failed:
                raise failed.pop()
            return await step(*arguments)

        wait = wait_exponential(multiplier=FIRST_PAUSE_S, max=longest_s)
        return await _tries(sleep or clock.sleep, wait, passes, tell, given_up)(again)

    return call


async def kept_running(
    service: Callable[[], Awaitable[None]],
    clock: Clock,
    *,
    passes: Callable[[BaseException], bool],
    tell: Callable[[BaseException], Awaitable[None] | None],
    pause_s: float,
) -> None:
    """Run what has no end by itself, and start it anew a fixed pause after each end by an error."""
    await _tries(clock.sleep, wait_fixed(pause_s), passes, tell, lambda: False)(service)


def _tries(
    sleep: Callable[[float], Awaitable[None]],
    wait: wait_base,
    passes: Callable[[BaseException], bool],
    tell: Callable[[BaseException], Awaitable[None] | None],
    given_up: Callable[[], bool],
) -> AsyncRetrying:
    async def before_pause(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None and (told := tell(error)) is not None:
            await told

    return AsyncRetrying(
        sleep=sleep,
        wait=wait,
        retry=retry_if_exception(passes),
        stop=lambda _state: given_up(),
        before_sleep=before_pause,
        reraise=True,
    )


def pause_s(failures: int) -> float:
    """Give the seconds to wait after so many failures in a row (1 = the first)."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * float(2 ** min(max(failures, 1) - 1, 10)))
