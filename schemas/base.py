"""The base of all messages: names in either case, money, time, JSON."""

import json
import math
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticSerializationError

__all__ = [
    "USD_QUANTUM",
    "Headers",
    "Message",
    "Timestamp",
    "Usd",
    "format_time",
    "format_usd",
    "to_camel",
]

#: Record headers as Kafka clients give them: repeated keys allowed, order kept.
Headers = tuple[tuple[str, bytes], ...]

#: Dollars are kept to 12 decimal places: the scale of the ClickHouse column.
USD_QUANTUM = Decimal("0.000000000001")
#: More digits than any sum has; an amount beyond the bound is written as the bound.
_WIDE = Context(prec=120)
_MOST_USD = Decimal(10) ** 100


def format_usd(amount: Decimal) -> str:
    """Write dollars as a plain decimal string without exponent or trailing zeros: `0.003`."""
    if not amount:
        return "0"
    bounded = max(-_MOST_USD, min(_MOST_USD, amount))
    text = format(bounded.quantize(USD_QUANTUM, context=_WIDE), "f")
    return text.rstrip("0").rstrip(".") or "0"


def format_time(moment: datetime) -> str:
    """Write a moment as RFC 3339 UTC with milliseconds: `2026-01-31T09:30:00.123Z`."""
    if moment.tzinfo is not UTC:
        try:
            moment = moment.astimezone(UTC)
        except OverflowError:  # a zone that leads out of the years 1 to 9999
            moment = moment.replace(tzinfo=UTC)
    return f"{moment.isoformat(timespec='milliseconds')[:-6]}Z"


def whole_text(text: str) -> str:
    """Replace halves of surrogate pairs by U+FFFD, and join halves that belong together."""
    if text.isascii():  # most are, and there is nothing to look for
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def writable(value: Any, levels: float = math.inf) -> Any:  # noqa: ANN401 - any value of JSON
    """Copy a JSON value as it can be written as UTF-8: no half surrogates, no NaN.

    Of objects and lists inside each other so many levels are kept; what lies deeper is None.
    """
    match value:
        case str():
            return whole_text(value)
        case float() if not math.isfinite(value):
            return None
        case dict() | list() if levels <= 0:
            return None
        case dict():
            return {whole_text(str(key)): writable(one, levels - 1) for key, one in value.items()}
        case list():
            return [writable(one, levels - 1) for one in value]
        case _:
            return value


Usd = Annotated[
    Decimal,
    PlainSerializer(format_usd, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d+(\.\d+)?$", "description": "US dollars"}),
]

Timestamp = Annotated[datetime, PlainSerializer(format_time, return_type=str, when_used="json")]


class Message(BaseModel):
    """A record value: written in snake_case, read in either case, unknown fields ignored."""

    model_config = ConfigDict(
        frozen=True,
        populate_by_name=True,
        alias_generator=to_camel,
        extra="ignore",
        protected_namespaces=(),
        loc_by_alias=False,
    )

    def to_json(self) -> bytes:
        """Encode for Kafka: compact UTF-8 JSON in snake_case.

        Half a surrogate pair, which models send in their answers, is written as U+FFFD.
        """
        try:
            return self.__pydantic_serializer__.to_json(self, by_alias=False)
        except PydanticSerializationError:
            document = writable(self.to_dict())
            return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form as plain Python values."""
        return self.model_dump(mode="json", by_alias=False)
