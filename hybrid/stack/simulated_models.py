"""The simulated lists of models: which there are, and when they end."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

__all__ = ["Shelf"]

#: A model that is listed though nobody asked for it.
LISTED = "gpt-6-luna"


@dataclass
class Shelf:
    """Which models there are: all but the missing ones; asked for, they cost nothing."""

    #: What a provider answers in place of them, as its other answers.
    refusal: Callable[[str], web.Response | None]
    missing: set[str] = field(default_factory=set)
    #: Model → fields of its entry beside its id: `shutdown_date`, `deprecation` …
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Whether there is no list, nor any entry.
    listless: bool = False
    #: Whether there is a list only.
    entryless: bool = False

    def routes(self, app: web.Application) -> None:
        """Serve the vendors' paths."""
        app.router.add_get("/v1/models", self.list)
        app.router.add_get("/v1/models/{model:.+}", self.show)
        app.router.add_get("/openai/models", self.list)
        app.router.add_get("/openai/v1/models", self.list)

    async def list(self, request: web.Request) -> web.Response:
        """Give all models that are told of."""
        provider = "azure" if request.path.startswith("/openai") else "openai"
        refusal = self.refusal(provider)
        if refusal is not None:
            return refusal
        if self.listless:
            return web.Response(status=404, text="no such page")
        names = sorted({LISTED, *self.told} - self.missing)
        return web.json_response({"object": "list", "data": [self._entry(one) for one in names]})

    async def show(self, request: web.Request) -> web.Response:
        """Give one model."""
        refusal = self.refusal("openai")
        if refusal is not None:
            return refusal
        model = request.match_info["model"]
        if self.listless or self.entryless:
            return web.Response(status=404, text="no such page")
        if model in self.missing:
            error = {
                "message": f"The model '{model}' does not exist",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            }
            return web.json_response({"error": error}, status=404)
        return web.json_response(self._entry(model))

    def _entry(self, model: str) -> dict[str, Any]:
        return {"id": model, "object": "model", "owned_by": "simulator", **self.told.get(model, {})}
