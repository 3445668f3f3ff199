"""What the pages' handlers share: a limit for what is read, and the fields of a form."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiohttp import web

__all__ = ["form_of", "limited"]

T = TypeVar("T")
#: A million dead letters are read in less.
READ_LIMIT_S = 60.0


async def limited(reading: Coroutine[Any, Any, T]) -> T:
    """Read for so long at the most; raises TimeoutError that says what to do."""
    try:
        async with asyncio.timeout(READ_LIMIT_S):
            return await reading
    except TimeoutError as error:
        if str(error):
            raise
        message = f"it was not read within {READ_LIMIT_S:g} s: choose less, such as since=24h"
        raise TimeoutError(message) from None


async def form_of(request: web.Request) -> dict[str, str]:
    """Give the fields of a form; a file is none."""
    return {name: one for name, one in (await request.post()).items() if isinstance(one, str)}
