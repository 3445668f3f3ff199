"""One call as it is sent, and how long something of it may take."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from agents.credentials.credentials import Grant
from agents.providers.arguments import Manner
from agents.providers.keeping import Keeper
from agents.providers.requests import ChatRequest
from agents.providers.time_limits import TimeLimits

__all__ = ["Asked", "within"]

#: No limit is not the making of one that never comes.
UNLIMITED = nullcontext()


@dataclass(frozen=True, slots=True)
class Asked:
    """One call as it is sent: by which key, in which manner, within how many seconds."""

    request: ChatRequest
    grant: Grant
    manner: Manner
    body: bytes
    times: TimeLimits
    limit_s: float
    #: Who is told where its answer is, where the provider keeps answers.
    keeper: Keeper | None = None


def within(seconds: float | None) -> AbstractAsyncContextManager[object]:
    """Give what raises TimeoutError after so many seconds; None = never."""
    return UNLIMITED if seconds is None else asyncio.timeout(seconds)
