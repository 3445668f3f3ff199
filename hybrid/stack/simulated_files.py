"""The files of the simulated providers: uploaded, listed, read, deleted."""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import BodyPartReader, web

from hybrid.stack.simulated import Faults

__all__ = ["FileRoom", "provider_of", "unknown"]


def provider_of(request: web.Request) -> str:
    """Tell whose path a request went to."""
    return "azure" if request.path.startswith("/openai") else "openai"


def unknown(what: str) -> web.Response:
    """Answer that there is no such thing."""
    message = f"No such {what}."
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.Response(
        status=404, text=json.dumps({"error": error}), content_type="application/json"
    )


@dataclass(eq=False)
class Stored:
    """One file."""

    document: dict[str, Any]
    content: bytes


class FileRoom:
    """All files of the simulated providers."""

    def __init__(
        self, faults: Callable[[str], Faults], refuse: Callable[[int, str], web.Response]
    ) -> None:
        """Keep none yet; `refuse` gives a provider's answer of a status."""
        self._faults = faults
        self.refuse = refuse
        self._stored: dict[str, dict[str, Stored]] = {}

    def routes(self, app: web.Application) -> None:
        """Serve the vendors' paths."""
        for root in ("/v1", "/openai/v1", "/openai"):
            app.router.add_post(f"{root}/files", self.upload)
            app.router.add_get(f"{root}/files", self.list)
            app.router.add_get(f"{root}/files/{{id}}", self.look)
            app.router.add_get(f"{root}/files/{{id}}/content", self.read)
            app.router.add_delete(f"{root}/files/{{id}}", self.delete)

    def of(self, provider: str) -> dict[str, Stored]:
        """Give a provider's files by their ids."""
        return self._stored.setdefault(provider, {})

    def keep(self, provider: str, content: bytes, purpose: str, name: str = "file.jsonl") -> str:
        """Keep a file; gives its id."""
        identifier = f"file-{uuid.uuid4().hex}"
        document = {
            "id": identifier,
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        self.of(provider)[identifier] = Stored(document, content)
        return identifier

    def trouble(self, request: web.Request) -> web.Response | None:
        """Give what the provider answers in place of what it is asked; None = that."""
        provider = provider_of(request)
        faults = self._faults(provider)
        looks = faults.batching.looks
        step = looks.pop(0) if looks else faults.always or "ok"
        if step == "reset" and request.transport is not None:
            request.transport.abort()
            return web.Response(status=500)
        return self.refuse(int(step), provider) if step.isdigit() and step != "200" else None

    async def upload(self, request: web.Request) -> web.Response:
        """Take a file."""
        provider = provider_of(request)
        content, fields, name = b"", dict[str, str](), ""
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == "file":
                content, name = bytes(await part.read()), part.filename or ""
            elif isinstance(part, BodyPartReader):
                fields[part.name or ""] = await part.text()
        uploads = self._faults(provider).batching.uploads
        step = uploads.pop(0) if uploads else "ok"
        if step.isdigit():
            return self.refuse(int(step), provider)
        identifier = self.keep(provider, content, fields.get("purpose", ""), name)
        if step == "lost" and request.transport is not None:
            request.transport.abort()
        return web.json_response(self.of(provider)[identifier].document)

    async def list(self, request: web.Request) -> web.Response:
        """Show all files, the newest first."""
        documents = [one.document for one in reversed(self.of(provider_of(request)).values())]
        return web.json_response({"object": "list", "data": documents, "has_more": False})

    async def look(self, request: web.Request) -> web.Response:
        """Show what is known of a file."""
        found = self._one(request)
        return web.json_response(found.document) if found else self._absent(request)

    async def read(self, request: web.Request) -> web.Response:
        """Give what is in a file."""
        found, refusal = self._one(request), self.trouble(request)
        if refusal is not None or found is None:
            return refusal or self._absent(request)
        return web.Response(body=found.content, content_type="application/octet-stream")

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a file."""
        identifier = request.match_info["id"]
        if self.of(provider_of(request)).pop(identifier, None) is None:
            return self._absent(request)
        return web.json_response({"id": identifier, "object": "file", "deleted": True})

    def _one(self, request: web.Request) -> Stored | None:
        return self.of(provider_of(request)).get(request.match_info["id"])

    @staticmethod
    def _absent(request: web.Request) -> web.Response:
        return unknown(f"File object: {request.match_info['id']}")
