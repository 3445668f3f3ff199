"""Who signed in at a proxy before the console, by the header that only it may send."""

import hmac
import ipaddress
import secrets
from collections.abc import Collection, Sequence
from hashlib import sha256
from math import inf

from aiohttp import web

from hybrid.console.access import MOST_NAME, Role, Session
from schemas.settings import Settings

__all__ = ["Proxied", "proxied_of"]


class Proxied:
    """Takes a name from a header of named addresses; a header from elsewhere is an attack."""

    def __init__(self, header: str, proxies: Sequence[str], operators: Collection[str]) -> None:
        """Keep where the header may come from, and whose names may act."""
        self._header = header
        self._networks = tuple(ipaddress.ip_network(one) for one in proxies)
        self._operators = frozenset(operators)
        #: Form tokens are made of it: a console that is started again makes others.
        self._secret = secrets.token_bytes(32)

    def session(self, request: web.Request) -> Session | None:
        """Give who the proxy says it is; None = it says nobody. Raises HTTPForbidden.

        The connection's own address counts, and not what another header says of it.
        """
        given = request.headers.getall(self._header, [])
        if not given:
            return None
        if not self._is_proxy(request.remote or "") or len(given) > 1:
            raise web.HTTPForbidden(
                text=f"the header {self._header} is taken from HYBRID_CONSOLE_PROXIES only\n"
            )
        # What is not UTF-8 there could not be written into a record.
        name = " ".join(given[0].encode("utf-8", "replace").decode().split())
        if not name:
            return None
        token = hmac.digest(self._secret, name.encode(), sha256).hex()
        role = Role.OPERATOR if name in self._operators else Role.VIEWER
        return Session(role, f"{name[:MOST_NAME]} (console)", token, inf)

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None) or found
        return any(mapped in network for network in self._networks)


def proxied_of(settings: Settings) -> Proxied | None:
    """Give what takes the header, where one is configured."""
    if not settings.hybrid_console_proxy_header:
        return None
    return Proxied(
        settings.hybrid_console_proxy_header,
        settings.hybrid_console_proxies,
        settings.hybrid_console_operators,
    )
