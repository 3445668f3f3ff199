"""Embeddings before they are asked for: what no model takes, or no result holds, costs no call."""

import asyncio
import json

from agents.deciding.embedding import (
    EmbeddingModel,
    Length,
    Sizes,
    bytes_of,
    is_short,
    known_model,
    length_of,
    size_problem,
    tokens_problem,
)
from agents.executing.account import Execution
from agents.executing.endings import refused
from agents.executing.planning import Planner
from agents.pricing.tokens import counter_of
from agents.task import Failed
from schemas.embeddings import inputs_of, unpacked
from schemas.intent import WorkflowIntent
from schemas.outcome import WorkflowResult
from schemas.vocabulary import DeadLetterReason

__all__ = ["Embeddings"]

#: Bytes that a result takes beside its vectors, the intent's metadata and its headers: framing,
#: ids of at most 512 signs, four bytes each, and what happened on the way.
BESIDE_BYTES = 16_384
#: And what a provider writes around a vector: names, its place, spaces.
AROUND_IN_BATCH = 128


class Embeddings:
    """Finds intents whose vectors are not to be paid for; one for each worker."""

    def __init__(self, *, planner: Planner, max_record_bytes: int) -> None:
        """Keep who knows the models' names, and how large a record may be."""
        self._planner = planner
        self._max_record_bytes = max_record_bytes
        self._sizes = Sizes()

    async def refusal(self, run: Execution, provider: str) -> Failed | None:
        """End an intent that cannot be served; None when it may be called for.

        `provider` is the first of its route: the others have the same model.
        """
        intent = run.task.intent
        known, length = self._length(intent, provider)
        if isinstance(length, str):
            return refused(run, DeadLetterReason.INVALID_INTENT, "invalid_embedding", length)
        problem = size_problem(
            len(inputs_of(intent)),
            length,
            as_floats=intent.parameters.get("encoding_format") == "float",
            room_bytes=self._max_record_bytes - _beside_bytes(run),
        )
        if problem is not None:
            return refused(run, DeadLetterReason.INVALID_INTENT, "result_too_large", problem)
        problem = await _tokens_problem(intent, known)
        if problem is not None:
            return refused(run, DeadLetterReason.INVALID_INTENT, "input_too_long", problem)
        return None

    def fit_a_batch(self, run: Execution, provider: str) -> bool:
        """Whether an intent can come back from a batch with its vectors, in one record."""
        intent = run.task.intent
        if intent.task != "embedding":
            return True
        _, length = self._length(intent, provider)
        if isinstance(length, str):
            return False
        each = bytes_of(length) + AROUND_IN_BATCH
        own = len(intent.to_json()) + _beside_bytes(run)
        return len(inputs_of(intent)) * each + own <= self._max_record_bytes

    def _length(
        self, intent: WorkflowIntent, provider: str
    ) -> tuple[EmbeddingModel | None, Length | str]:
        names = self._planner.names(intent, provider)
        known = known_model(names)
        return known, length_of(known, asked=_asked(intent), seen=self._sizes.of(names[0]))

    def note(self, intent: WorkflowIntent, provider: str, result: WorkflowResult) -> None:
        """Remember how long the vectors of a model are."""
        names = self._planner.names(intent, provider)
        if result.embeddings and known_model(names) is None and _asked(intent) is None:
            first = result.embeddings[0]
            length = len(unpacked(first) if isinstance(first, str) else first)
            self._sizes.note(names[0], length)


def _asked(intent: WorkflowIntent) -> int | None:
    """Give how long vectors are asked to be; None where their model decides."""
    asked: int | None = intent.parameters.get("dimensions")
    return asked


async def _tokens_problem(intent: WorkflowIntent, known: EmbeddingModel | None) -> str | None:
    """Count where it is near; beside the loop, which a large text would hold up."""
    texts = inputs_of(intent)
    if known is None or is_short(texts):
        return None

    def counts() -> list[int]:
        return [*map(counter_of((known.name,)), texts)]

    return tokens_problem(known, await asyncio.to_thread(counts))


def _beside_bytes(run: Execution) -> int:
    """Give what a result holds beside its vectors, at most."""
    said = len(json.dumps(run.task.intent.metadata))
    headers = sum(len(name) + len(value) for name, value in run.task.headers)
    return BESIDE_BYTES + said + headers
