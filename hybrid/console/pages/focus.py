"""Costs as a FOCUS dataset: what `hybrid costs export` writes."""

import asyncio
from tempfile import SpooledTemporaryFile
from typing import IO

from aiohttp import web

from agents.pricing.book import book_of
from hybrid.console.ground import GROUND
from hybrid.console.pages.choosing import read
from hybrid.errors import UsageError
from streams.bill.focus import export, vendors_of
from streams.store.clickhouse import ClickHouse

__all__ = ["costs_focus"]

#: As much of it as is kept in memory before it is sent; more waits in a file.
IN_MEMORY = 4 * 1024 * 1024
PIECE = 256 * 1024


async def costs_focus(request: web.Request) -> web.StreamResponse:
    """Give the dataset of the time that is asked for, whole or not at all."""
    ground = request.app[GROUND]
    asked = read("/costs", request.query, now=ground.clock.now(), by="provider")
    try:
        vendors = vendors_of(ground.settings, book_of(ground.settings))
    except ValueError as error:
        raise UsageError(str(error)) from None

    def write(store: ClickHouse) -> IO[bytes]:
        until = asked.which.get("until")
        file = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed below, when it is sent
        try:
            for piece in export(store, vendors, since=asked.since, until=until, form="csv"):
                file.write(piece)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    with await ground.sources.asked(write) as file:
        response = web.StreamResponse(
            headers={"Content-Disposition": 'attachment; filename="focus.csv"'}
        )
        response.content_type, response.charset = "text/csv", "utf-8"
        await response.prepare(request)
        while piece := await asyncio.to_thread(file.read, PIECE):
            await response.write(piece)
        await response.write_eof()
    return response
