"""Where ClickHouse is, as CLICKHOUSE_URL says it; without its client, which takes long to load."""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

__all__ = ["Address", "address_of", "database_of"]

SAFE_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")


@dataclass(frozen=True, slots=True)
class Address:
    """A CLICKHOUSE_URL taken apart and decoded."""

    scheme: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str

    @property
    def shown(self) -> str:
        """As it may be printed: without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def address_of(url: str) -> Address:
    """Take a CLICKHOUSE_URL apart; raises ValueError, whose text shows no part of it."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        host = port = parts = None
    if parts is None or not host or port == 0 or "@" in parts.path or parts.fragment or parts.query:
        message = (
            "CLICKHOUSE_URL cannot be read as http(s)://user:password@host:port/database: the port "
            "is 1 to 65535, and # / ? @ [ ] : % in user or password are percent-encoded "
            "(%23 %2F %3F %40 %5B %5D %3A %25)"
        )
        raise ValueError(message)
    name = unquote(parts.path.strip("/")) or "default"
    if not SAFE_NAME.match(name):
        message = "CLICKHOUSE_URL names a database that is none: letters, digits and _ are allowed"
        raise ValueError(message)
    return Address(
        scheme=parts.scheme,
        host=host,
        port=port or (8443 if parts.scheme == "https" else 8123),
        user=unquote(parts.username or "default"),
        password=unquote(parts.password or ""),
        database=name,
    )


def database_of(url: str) -> str:
    """Give the database of a CLICKHOUSE_URL; raises ValueError for one that cannot be read."""
    return address_of(url).database
