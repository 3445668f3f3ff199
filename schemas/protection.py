"""Settings of what is kept from providers: built-in patterns, and `[[protect]]` tables."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import StringConstraints, field_validator

from schemas.console_settings import ConsoleSettings
from schemas.tables import Table

__all__ = ["KINDS", "ProtectSpec", "ProtectionSettings"]

Kind = Literal["email", "phone", "card", "iban", "key"]
#: What can be found without a pattern of one's own.
KINDS: tuple[str, ...] = get_args(Kind)


class ProtectSpec(Table):
    """A pattern of one's own: what it finds is kept from providers."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    """What stands in its place: `order` becomes `[ORDER_1]`. No name of a built-in pattern."""
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    """A regular expression of Python. It is run over every text that a provider is to get, and
    nothing bounds its time: one with a repetition in a repetition, such as `(a+)+`, can hold a
    worker up for as long as it likes on a text that is made for it."""

    @field_validator("name")
    @classmethod
    def _own_name(cls, value: str) -> str:
        if value in KINDS:
            message = f"is built in; turn it on with HYBRID_PROTECT={value}, or choose another name"
            raise ValueError(message)
        return value

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            empty = re.compile(value).search("")
        except (re.error, RecursionError, OverflowError) as error:
            message = f"must be a regular expression of Python: {error}"
            raise ValueError(message) from None
        if empty:
            message = "must find something: it matches where nothing is"
            raise ValueError(message)
        return value


class ProtectionSettings(ConsoleSettings):
    """What providers do not get to see."""

    hybrid_protect: tuple[Kind, ...] = ()
    """What is replaced in all that a provider gets, and put back into its answer: any of email,
    phone, card, iban, key, separated by commas, or `all` (docs/security.md)."""
    hybrid_content_keys: str | None = None
    """Folder of key files, one a tenant and `default`: with it, what dead letters, put-off intents,
    lines of batches and cached answers hold is encrypted (docs/security.md)."""
    hybrid_dead_letters: Literal["content", "reference"] = "content"
    """Whether a dead letter carries the intent as it came, or only says where it stands: then it
    can be replayed for as long as its topic keeps it."""
    protect: tuple[ProtectSpec, ...] = ()
    """Patterns of one's own whose finds are replaced too."""

    @field_validator("hybrid_protect", mode="before")
    @classmethod
    def _kinds(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        words = [part.strip() for part in value.split(",") if part.strip()]
        if words == ["all"]:
            return KINDS
        if not set(words) <= set(KINDS):
            message = f"must be any of {', '.join(KINDS)}, separated by commas, or all"
            raise ValueError(message)
        return tuple(dict.fromkeys(words))

    @field_validator("protect")
    @classmethod
    def _each_once(cls, value: tuple[ProtectSpec, ...]) -> tuple[ProtectSpec, ...]:
        names = [one.name for one in value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            message = f"name {twice} is there twice: each pattern has a name of its own"
            raise ValueError(message)
        return value
