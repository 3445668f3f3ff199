"""The common ground of all messages: case, money, time, headers."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

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


def format_usd(amount: Decimal) -> str:
    """Write dollars as a plain decimal string without exponent or trailing zeros: `0.003`."""
    text = format(amount.quantize(USD_QUANTUM), "f")
    return text.rstrip("0").rstrip(".") or "0"


def format_time(moment: datetime) -> str:
    """Write a moment as RFC 3339 UTC with milliseconds: `2026-01-31T09:30:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
        """Encode for Kafka: compact UTF-8 JSON in snake_case."""
        return self.model_dump_json(by_alias=False).encode()

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form as plain Python values."""
        return self.model_dump(mode="json", by_alias=False)
