"""Limits in dollars as people write them."""

from decimal import Decimal, InvalidOperation

from hybrid.errors import UsageError
from hybrid.text import visible

__all__ = ["usd_of"]


def usd_of(text: str | None, *, option: str = "--max-usd") -> Decimal | None:
    """Read a limit; `option` is what a mistake is said of. Raises UsageError."""
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        message = f"{option} {visible(text)}: write dollars, such as 20 or 0.5"
        raise UsageError(message)
    return amount
