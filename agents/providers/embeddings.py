"""Embeddings: what is sent, of the same request that a chat is made of, and how vectors are read.

Vectors travel as base64 of float32 (a third of the bytes of numbers); a server that answers with
numbers all the same is read too.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from agents.deciding.failures import Failure
from agents.pricing.usage import read_input_usage
from agents.providers.arguments import Manner
from agents.providers.assembly import Assembly
from agents.providers.bodies import embedded_failure, error_in, text
from agents.providers.requests import ChatRequest
from agents.providers.tool_calls import objects_of
from schemas.embeddings import packed, unpacked
from schemas.vocabulary import FailureKind

__all__ = ["EmbeddingAssembly", "EmbeddingsApi"]


class EmbeddingsApi:
    """The embeddings API of OpenAI, which most vendors have too."""

    path = "/embeddings"

    def body(self, request: ChatRequest, manner: Manner) -> dict[str, Any]:
        """Give the whole body of a request."""
        body = {
            "model": manner.model,
            "input": [message["content"] for message in request.messages],
            **self._said(request),
            "encoding_format": "base64",
            **manner.dialect.extra_body,
        }
        gone = manner.dialect.drop | manner.learnt
        return {name: value for name, value in body.items() if name not in gone}

    def parameters(self, body: Mapping[str, Any]) -> Collection[str]:
        """Name what a body says and an error may refuse."""
        return body.keys()

    def left_out(self, request: ChatRequest, manner: Manner) -> tuple[str, ...]:
        """Name what the request asks for and the body does not say, in the intent's words."""
        gone = manner.dialect.drop | manner.learnt
        return tuple(sorted(set(self._said(request)) & gone))

    def assembly(self, now: datetime) -> Assembly:
        """Begin to read an answer; `now` is when it was asked for."""
        return EmbeddingAssembly(now)

    @staticmethod
    def _said(request: ChatRequest) -> dict[str, Any]:
        """Give the intent's parameters; how the result writes vectors is no provider's matter."""
        return {
            name: value
            for name, value in request.parameters.items()
            if value is not None and name != "encoding_format"
        }


class EmbeddingAssembly(Assembly):
    """A list of embeddings."""

    what = "list of embeddings"

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Take what the document says; vectors that are none, or of several lengths, break it."""
        self._model = text(chunk.get("model")) or self._model
        self._usage = read_input_usage(chunk.get("usage")) or self._usage
        error = error_in(chunk)
        if error:
            self.broken(embedded_failure(error, now=self._now))
        self._answered |= isinstance(chunk.get("data"), list)
        try:
            self._vectors = _vectors(objects_of(chunk.get("data")))
        except (ValueError, TypeError, OverflowError):
            message = "a vector of the answer cannot be read"
            self.broken(Failure(FailureKind.BAD_OUTPUT, "unreadable_vector", message, 200))


def _vectors(items: list[dict[str, Any]]) -> list[str]:
    """Give vectors in the order of their inputs; raises ValueError, TypeError, OverflowError."""
    placed = {_place(item, at): item.get("embedding") for at, item in enumerate(items)}
    if sorted(placed) != list(range(len(items))):
        message = "two vectors are of one input"
        raise ValueError(message)
    vectors = [_written(placed[place]) for place in range(len(items))]
    if len({len(one) for one in vectors}) > 1:
        message = "vectors are of several lengths"
        raise ValueError(message)
    return vectors


def _place(item: Mapping[str, Any], otherwise: int) -> int:
    place = item.get("index", otherwise)
    if not isinstance(place, int) or isinstance(place, bool):
        message = "the place of a vector is a number"
        raise TypeError(message)
    return place


def _written(vector: object) -> str:
    if isinstance(vector, str):
        unpacked(vector)
        return vector
    if not isinstance(vector, list):
        message = "a vector is base64 or a list of numbers"
        raise TypeError(message)
    return packed(vector)
