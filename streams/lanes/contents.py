"""Content as lanes take it in: opened, once it is sure whether its key is there.

A person's key is committed with what it seals, and read from its topic by another way: it may come
later. So a key that is not known is looked for once more, to the topic's end: what is not there
then is gone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from streams.messages.records import Incoming
from streams.messages.sealing import Vault

__all__ = ["Contents", "Take"]


class Take(Protocol):
    """Takes a record; `late`: not at once."""

    def __call__(self, incoming: Incoming, *, late: bool) -> None:
        """Take it."""
        ...


class Contents:
    """Opens what lanes are given; one for each worker."""

    def __init__(
        self, vault: Vault | None = None, read_keys: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """`read_keys` has the vault learn all keys that are there now, however long it takes.

        Without a vault nothing is opened.
        """
        self.vault = vault
        self._read_keys = read_keys
        self._reading = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._waiting: set[asyncio.Task[None]] = set()

    def give(self, incoming: Incoming, take: Take) -> None:
        """Give a record, opened, to `take`: at once, or when it is sure that it cannot be."""
        vault = self.vault
        opened = incoming if vault is None else vault.opened(incoming)
        if vault is None or opened.unreadable is None or not opened.unreadable.is_forgotten:
            take(opened, late=False)
            return

        async def later() -> None:
            await self.until_sure()
            take(vault.opened(incoming), late=True)

        task = asyncio.get_running_loop().create_task(later())
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def until_sure(self) -> None:
        """Return once all keys are known that were there when this was asked."""
        if self._next is None:  # one that has begun may have passed them already
            self._next = asyncio.get_running_loop().create_task(self._read())
        await asyncio.shield(self._next)

    async def _read(self) -> None:
        async with self._reading:
            self._next = None
            if self._read_keys is not None:
                await self._read_keys()
