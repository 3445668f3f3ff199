"""Settings of the operator's console: where it is served, who may enter, what it shows."""

from __future__ import annotations

import ipaddress
import re

from pydantic import Field, SecretStr, field_validator

from schemas.connections import ConnectionSettings

__all__ = ["ConsoleSettings"]


class ConsoleSettings(ConnectionSettings):
    """Where the console is served, who may enter, and what it shows."""

    hybrid_console_port: int = Field(default=9480, ge=0, le=65_535)
    """Port of `hybrid console`; `hybrid up` takes a free one, and starts none where this is 0."""
    hybrid_console_addresses: tuple[str, ...] = ()
    """Addresses, such as https://ops.example.com, under which people open the console; without them
    it is for this machine. Where the first is https, its cookies are for TLS only."""
    hybrid_console_token: SecretStr | None = None
    """What operators sign in with, 16 signs at least; needed to serve other machines."""
    hybrid_console_proxy_header: str = ""
    """Header in which a proxy before the console names who signed in there (OpenID Connect), such
    as X-Forwarded-Email; without it no header names anybody."""
    hybrid_console_proxies: tuple[str, ...] = ()
    """Addresses or networks of those proxies, such as 10.0.0.7 or 10.1.0.0/16; the header is taken
    from nobody else, and who else sends it is refused."""
    hybrid_console_operators: tuple[str, ...] = ()
    """Who of them may act, as the header names them; the others may look."""
    hybrid_console_content: bool = False
    """Whether operators may have prompts and answers shown, one at a time, each time on record."""
    hybrid_console_name: str = ""
    """Name of the environment on the console's pages, such as prod-eu."""

    @field_validator(
        "hybrid_console_addresses",
        "hybrid_console_proxies",
        "hybrid_console_operators",
        mode="before",
    )
    @classmethod
    def _lists(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("hybrid_console_addresses")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", one) for one in value):
            message = "must be addresses such as https://ops.example.com, without a path"
            raise ValueError(message)
        return tuple(one.lower() for one in value)

    @field_validator("hybrid_console_proxy_header")
    @classmethod
    def _header(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z0-9-]+", value):
            message = "must be the name of a header, such as X-Forwarded-Email"
            raise ValueError(message)
        return value

    @field_validator("hybrid_console_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for one in value:
                ipaddress.ip_network(one)
        except ValueError:
            message = "must be addresses or networks such as 10.0.0.7 or 10.1.0.0/16"
            raise ValueError(message) from None
        return value

    @field_validator("hybrid_console_token")
    @classmethod
    def _long_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:  # noqa: PLR2004 - 96 bits
            message = "must have 16 signs at least: `openssl rand -base64 24` makes one"
            raise ValueError(message)
        return value
