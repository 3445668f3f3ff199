"""The ways to ask a model: each with its path, its bodies, and how its answers are read; pure."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Protocol

from agents.providers.arguments import Manner, body_of, left_out, messages_of
from agents.providers.assembly import Assembly, ChatAssembly
from agents.providers.embeddings import EmbeddingsApi
from agents.providers.requests import ChatRequest
from agents.providers.responses import ResponsesApi

__all__ = ["APIS", "EMBEDDINGS", "Api", "ChatApi"]


class Api(Protocol):
    """One way to ask: what is sent, and what comes back."""

    @property
    def path(self) -> str:
        """Where it is, below the base URL."""
        ...

    def body(self, request: ChatRequest, manner: Manner) -> dict[str, Any]:
        """Give the whole body of a request."""
        ...

    def parameters(self, body: Mapping[str, Any]) -> Collection[str]:
        """Name what a body says and an error may refuse."""
        ...

    def left_out(self, request: ChatRequest, manner: Manner) -> tuple[str, ...]:
        """Name what the request asks for and the body does not say, in the intent's words."""
        ...

    def assembly(self, now: datetime) -> Assembly:
        """Begin to read an answer; `now` is when it was asked for."""
        ...


class ChatApi:
    """Chat completions."""

    path = "/chat/completions"

    def body(self, request: ChatRequest, manner: Manner) -> dict[str, Any]:
        """Give the whole body of a request."""
        manners: dict[str, Any] = {"service_tier": manner.tier} if manner.tier else {}
        if manner.stream:
            manners["stream_options"] = {"include_usage": True}
        return {
            "model": manner.model,
            **({"stream": True} if manner.stream else {}),
            "messages": messages_of(request, manner.dialect, manner.learnt),
            **body_of(request, manner.dialect, manner.learnt, manners),
        }

    def parameters(self, body: Mapping[str, Any]) -> Collection[str]:
        """Name what a body says and an error may refuse."""
        return body.keys()

    def left_out(self, request: ChatRequest, manner: Manner) -> tuple[str, ...]:
        """Name what the request asks for and the body does not say, in the intent's words."""
        return left_out(request, manner.dialect, manner.learnt)

    def assembly(self, now: datetime) -> Assembly:
        """Begin to read an answer; `now` is when it was asked for."""
        return ChatAssembly(now)


#: `api` of a provider → how it is asked.
APIS: dict[str, Api] = {"chat": ChatApi(), "responses": ResponsesApi()}
#: How embeddings are asked for, whatever else a provider's `api` is.
EMBEDDINGS: Api = EmbeddingsApi()
