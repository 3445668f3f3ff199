"""The simulated responses that a provider keeps: made in the background, looked at, cancelled.

A response bills when it ends, whether anybody looks or not, and its call is in the log then. It is
kept for `retention_s` after its end; later, or by an id that was never given, the answer is 404.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from aiohttp import web

from hybrid.stack.simulated import Call, Faults, charge

__all__ = ["Cabinet", "Kept", "is_background"]

#: By this header a provider that is told to (`idempotent`) knows a request that it has had.
IDEMPOTENCY = "Idempotency-Key"
#: Of the time that a response takes, the part in which it is `queued`.
QUEUED = 0.2
CANCELLED, FAILED = 499, 500
UNWRITTEN: dict[str, Any] = {
    "incomplete_details": None, "error": None, "output": [], "usage": None,
}  # fmt: skip


def is_background(request: web.Request, body: Mapping[str, Any]) -> bool:
    """Tell whether a request wants its response kept."""
    return request.path.endswith("/responses") and bool(body.get("background"))


@dataclass(eq=False)
class Kept:
    """One response: what it will be, and what it is meanwhile."""

    call: Call
    #: As it will be at its end; its usage and content are not shown before.
    document: dict[str, Any]
    prompt_tokens: int
    #: Seconds until its end; None = it never ends by itself.
    takes_s: float | None
    identifier: str = field(default_factory=lambda: f"resp_{uuid.uuid4().hex}")
    begun: float = field(default_factory=time.monotonic)
    ended: bool = False

    def shown(self) -> dict[str, Any]:
        """Give it as it is now."""
        if self.ended:
            return {**self.document, "id": self.identifier}
        part = 1.0 if self.takes_s is None else self.takes_s * QUEUED
        status = "queued" if time.monotonic() - self.begun < part else "in_progress"
        return {**self.document, **UNWRITTEN, "id": self.identifier, "status": status}


class Cabinet:
    """All kept responses of the simulated providers."""

    def __init__(
        self,
        faults: Callable[[str], Faults],
        refuse: Callable[[int, str], web.Response],
        record: Callable[[Call], None],
    ) -> None:
        """Keep none yet; `refuse` gives a provider's answer of a status, `record` logs a call."""
        self._faults = faults
        self._refuse = refuse
        self._record = record
        self._kept: dict[str, Kept] = {}
        self._by_key: dict[tuple[str, str], str] = {}

    def routes(self, app: web.Application) -> None:
        """Serve the vendors' paths."""
        for root in ("/v1", "/openai/v1", "/openai"):
            app.router.add_get(f"{root}/responses/{{id}}", self.look)
            app.router.add_post(f"{root}/responses/{{id}}/cancel", self.cancel)

    def known(self, request: web.Request, provider: str) -> web.Response | None:
        """Give the response of a request that was made before; None for a new one."""
        key = request.headers.get(IDEMPOTENCY, "")
        if not (key and self._faults(provider).keeping.idempotent):
            return None
        kept = self._kept.get(self._by_key.get((provider, key), ""))
        return None if kept is None else web.json_response(kept.shown())

    def put(self, request: web.Request, kept: Kept, body: Mapping[str, Any]) -> web.Response:
        """Begin a response; it ends by itself."""
        kept.document |= {
            "background": True,
            "store": body.get("store", True),
            "metadata": body.get("metadata") or {},
        }
        self._kept[kept.identifier] = kept
        self._by_key[kept.call.provider, request.headers.get(IDEMPOTENCY, "")] = kept.identifier
        if kept.takes_s is not None:
            asyncio.get_running_loop().call_later(kept.takes_s, self._end, kept)
        return web.json_response(kept.shown())

    def all(self) -> list[dict[str, Any]]:
        """Show all that are kept now."""
        return [kept.shown() for kept in self._kept.values()]

    async def look(self, request: web.Request) -> web.Response:
        """Show a response as it is."""
        kept = self._kept.get(request.match_info["id"])
        refusal = self._trouble(request, kept)
        if refusal is not None or kept is None:
            return refusal or _unknown(request)
        return web.json_response(kept.shown(), headers={"x-request-id": uuid.uuid4().hex})

    async def cancel(self, request: web.Request) -> web.Response:
        """End a response that has not ended; one that has stays what it is."""
        kept = self._kept.get(request.match_info["id"])
        refusal = self._trouble(request, kept)
        if refusal is not None or kept is None:
            return refusal or _unknown(request)
        if not kept.ended:
            kept.document |= {**UNWRITTEN, "status": "cancelled"}
            kept.call.status, kept.call.outcome = CANCELLED, "cancelled"
            kept.call.tokens = kept.prompt_tokens
            kept.call.billed_usd = format(charge(kept.call, kept.prompt_tokens, 0), "f")
            self._end(kept)
        return web.json_response(kept.shown())

    def _trouble(self, request: web.Request, kept: Kept | None) -> web.Response | None:
        """Give what the provider answers in place of a response; None = the response."""
        provider = "azure" if request.path.startswith("/openai") else "openai"
        faults = self._faults(provider)
        step = faults.keeping.looks.pop(0) if faults.keeping.looks else faults.always or "ok"
        if step == "reset" and request.transport is not None:
            request.transport.abort()
        if step.isdigit() and step != "200":
            return self._refuse(int(step), provider)
        return None if kept is None or kept.call.provider == provider else _unknown(request)

    def _end(self, kept: Kept) -> None:
        """Bill it, and keep it for a while."""
        if kept.ended:
            return
        kept.ended = True
        if kept.document["status"] == "failed":
            kept.call.status, kept.call.outcome = FAILED, "failed"
            kept.call.billed_usd, kept.call.tokens = format(Decimal(0), "f"), 0
        self._record(kept.call)
        retention_s = self._faults(kept.call.provider).keeping.retention_s
        loop = asyncio.get_running_loop()
        loop.call_later(retention_s, self._kept.pop, kept.identifier, None)


def _unknown(request: web.Request) -> web.Response:
    message = f"Response with id '{request.match_info['id']}' not found."
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.Response(
        status=404, text=json.dumps({"error": error}), content_type="application/json"
    )
