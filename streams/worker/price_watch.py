"""Takes a new list of prices over while the worker runs; an unreadable one changes nothing."""

import asyncio
from pathlib import Path

from agents.clock import Clock
from agents.credentials.sources import Mark, mark_of
from agents.log import Log
from agents.pricing.book import renew
from agents.pricing.prices import PriceBook
from schemas.settings import Settings
from schemas.vocabulary import LogEvent

__all__ = ["PriceWatch"]

LOOK_EVERY_S = 60


class PriceWatch:
    """Looks whether the file of HYBRID_PRICE_LIST is another one than it was."""

    def __init__(self, settings: Settings, book: PriceBook, *, clock: Clock, log: Log) -> None:
        """Watch for the prices of a book; the file as it is now is what the book was made from."""
        self._settings = settings
        self._book = book
        self._clock = clock
        self._log = log
        self._seen = self._mark()

    async def watch_forever(self) -> None:
        """Look once a minute."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Take the file over where it has changed; says so, once for each change."""
        mark = self._mark()
        if mark == self._seen:
            return
        self._seen = mark
        try:
            # Beside the loop: it is a megabyte or more. The book changes in one step at its end.
            await asyncio.to_thread(renew, self._book, self._settings)
        except ValueError as error:
            self._log(LogEvent.PRICES_KEPT, level="warning", why=str(error))
            return
        self._log(LogEvent.PRICES_RENEWED, list=self._book.listed.name)

    def _mark(self) -> Mark | None:
        """Tell the file from what it was before; None where there is none."""
        file = self._settings.hybrid_price_list
        try:
            return None if file is None else mark_of(Path(file))
        except OSError:
            return None
