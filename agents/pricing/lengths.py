"""How long prompts and answers of models may be, as a list of prices and their sellers say it."""

from collections.abc import Sequence

from agents.pricing.limits import most_output
from agents.pricing.public import PriceList
from agents.pricing.sellers import Seller

__all__ = ["Lengths"]

#: Models of which it is kept: they are named by intents, and asked about for each call.
MOST_MODELS = 1_000

#: Tokens of the context, None where nobody says; of an answer, and whether that is its own limit.
_Both = tuple[int | None, tuple[int, bool]]


class Lengths:
    """What one list says; looked up once a model."""

    def __init__(self, listed: PriceList) -> None:
        """Go by a list."""
        self._listed = listed
        self._known: dict[tuple[str, str, tuple[str, ...]], _Both] = {}

    def of(self, seller: Seller, models: Sequence[str]) -> _Both:
        """Give the context's tokens, and the most of one answer, of a model by its names."""
        key = (seller.name, seller.kind, tuple(models))
        if key not in self._known:
            if len(self._known) >= MOST_MODELS:
                self._known.clear()
            self._known[key] = self._looked_up(seller, models)
        return self._known[key]

    def _looked_up(self, seller: Seller, models: Sequence[str]) -> _Both:
        vendor, stated = seller.vendor, seller.max_output_tokens
        window = None if vendor is None else self._listed.window(vendor, models)
        return window, most_output(models, window=window) if stated is None else (stated, True)
