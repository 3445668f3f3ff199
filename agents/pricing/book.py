"""The prices of a configuration."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from agents.pricing.prices import PriceBook
from agents.pricing.public import PriceList, PriceListError, bundled_list, read_list
from agents.pricing.sellers import sellers_of
from schemas.settings import Settings

__all__ = ["age_of", "book_of", "renew", "stored_list"]


def book_of(settings: Settings) -> PriceBook:
    """Build the price book: one's own prices, who sells what, and which list holds.

    Raises ValueError for a list that cannot be read.
    """
    listed = _list_of(settings)
    return PriceBook(
        settings.prices,
        sellers_of(settings, listed),
        flat=settings.hybrid_prices == "original",
        listed=listed,
    )


def renew(book: PriceBook, settings: Settings) -> None:
    """Read the public list anew; raises ValueError where it cannot be read, and changes nothing."""
    listed = _list_of(settings)
    book.renew(sellers_of(settings, listed), listed)


def _list_of(settings: Settings) -> PriceList:
    """Read the public list that holds; raises ValueError for one that cannot be read."""
    if settings.hybrid_price_list is None:
        return bundled_list()
    file = Path(settings.hybrid_price_list)
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        day = datetime.fromtimestamp(file.stat().st_mtime, UTC).date()
        if isinstance(document, dict):
            day, document = date.fromisoformat(str(document["fetched_on"])), document["providers"]
        return read_list(document, day=day)
    except (OSError, ValueError, LookupError, RecursionError, PriceListError) as error:
        said = str(error) if isinstance(error, PriceListError) else type(error).__name__
        message = (
            f"HYBRID_PRICE_LIST = {file}: it cannot be read ({said}); write it with "
            "`hybrid costs prices update`, or leave the setting out"
        )
        raise ValueError(message) from None


def stored_list(document: object, *, source: str, day: date) -> dict[str, Any]:
    """Give what is written into the file of the list; raises PriceListError for what is none."""
    if isinstance(document, dict):  # as it is written here
        document = document.get("providers")
    read_list(document, day=day)
    return {"fetched_on": day.isoformat(), "source": source, "providers": document}


def age_of(listed: PriceList) -> str:
    """Say how old a list is: when it was fetched (in its name), and of when its newest price is."""
    newest = listed.newest()
    age = "" if newest is None else f", its newest price is of {newest.isoformat()}"
    return f"list {listed.name}{age}"
