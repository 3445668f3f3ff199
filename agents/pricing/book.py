"""The prices of a configuration."""

from agents.pricing.prices import PriceBook
from agents.pricing.sellers import sellers_of
from schemas.settings import Settings

__all__ = ["book_of"]


def book_of(settings: Settings) -> PriceBook:
    """Build the price book: one's own prices, who sells what, and which list holds."""
    return PriceBook(
        settings.prices,
        sellers_of(settings.provider_specs),
        flat=settings.hybrid_prices == "original",
    )
