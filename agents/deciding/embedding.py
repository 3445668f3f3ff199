"""Embeddings before they are paid for: how long texts may be, and how many vectors fit; pure.

The numbers are OpenAI's: an input has at most 8,192 tokens, and all inputs of a request 300,000
(https://developers.openai.com/api/reference/resources/embeddings/methods/create). Of other
vendors' models only what their answers had is known; how long their inputs may be they say.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["EmbeddingModel", "Length", "Sizes", "bytes_of", "is_short", "known_model", "length_of",
           "size_problem", "tokens_problem"]  # fmt: skip

#: Tokens of one input, and of all inputs of a request.
MOST_TOKENS, MOST_TOKENS_TOGETHER = 8_192, 300_000
#: Numbers of a vector where nobody has said or seen how many: as the longest of OpenAI's.
ASSUMED = 3_072
#: Models of which it is remembered how long their vectors are.
MOST_MODELS = 1_000
#: Bytes of a number in a list, its comma included: `-1.23456789e-38,`.
BYTES_A_FLOAT = 16
#: Bytes around a vector in a list: quotes or brackets, and a comma.
AROUND = 3


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """What is known of a model before it is asked."""

    name: str
    dimensions: int
    #: Whether it gives shorter vectors where it is asked to.
    shortens: bool = True


MODELS = tuple(
    (re.compile(rf"{re.escape(model.name)}(?![\w.])"), model)
    for model in (
        EmbeddingModel("text-embedding-3-small", 1_536),
        EmbeddingModel("text-embedding-3-large", 3_072),
        EmbeddingModel("text-embedding-ada-002", 1_536, shortens=False),
    )
)


@dataclass(frozen=True, slots=True)
class Length:
    """How many numbers a vector will have."""

    dimensions: int
    #: Whether nobody knows, and it is the most that is to be expected.
    assumed: bool = False


class Sizes:
    """How long the vectors of models were in their last answers; those asked last are known."""

    def __init__(self, most: int = MOST_MODELS) -> None:
        """Begin without any."""
        self._most = most
        self._seen: OrderedDict[str, int] = OrderedDict()

    def note(self, model: str, dimensions: int) -> None:
        """Remember an answer without a number of dimensions that was asked for."""
        self._seen[model] = dimensions
        self._seen.move_to_end(model)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def of(self, model: str) -> int | None:
        """Give how long they were; None where none has been seen."""
        return self._seen.get(model)


def known_model(names: Iterable[str]) -> EmbeddingModel | None:
    """Give what is known of a model, by several names for it, best first; None = nothing."""
    for name in names:
        bare = name.rpartition("/")[2].lower()
        for pattern, model in MODELS:
            if pattern.match(bare):
                return model
    return None


def length_of(known: EmbeddingModel | None, *, asked: int | None, seen: int | None) -> Length | str:
    """Tell how long vectors will be; or why the model gives none so long, as a sentence.

    `asked` is what the intent wants, `seen` what the last answers had; None = nothing.
    """
    if known is None:
        found = asked or seen
        return Length(ASSUMED, assumed=True) if found is None else Length(found)
    if asked is None or asked == known.dimensions:
        return Length(known.dimensions)
    if not known.shortens:
        only = f"vectors of {known.name} have {known.dimensions} dimensions, and no other number"
        return f"parameters.dimensions: {only}"
    if asked > known.dimensions:
        most = f"vectors of {known.name} have at most {known.dimensions} dimensions"
        return f"parameters.dimensions: {most}"
    return Length(asked)


def size_problem(count: int, length: Length, *, as_floats: bool, room_bytes: int) -> str | None:
    """Say that the vectors of so many inputs do not fit into a result; None where they do."""
    each = bytes_of(length, as_floats=as_floats)
    if count * each <= room_bytes:
        return None
    fits = max(0, room_bytes) // each
    about = "assumed to have" if length.assumed else "of"
    return (
        f"{count} vectors {about} {length.dimensions} dimensions take {count * each} bytes and do"
        f" not fit into a result: at most {fits} inputs do; split the intent, ask for fewer"
        " parameters.dimensions, or raise HYBRID_MAX_INTENT_BYTES"
    )


def bytes_of(length: Length, *, as_floats: bool = False) -> int:
    """Give the bytes of one vector in a record, at most."""
    if as_floats:
        return length.dimensions * BYTES_A_FLOAT + AROUND
    return -(-4 * length.dimensions // 3) * 4 + AROUND


def is_short(texts: Iterable[str]) -> bool:
    """Whether texts are short enough for every known model, without counting: by their bytes."""
    sizes = [len(text.encode("utf-8", "replace")) for text in texts]
    return max(sizes, default=0) <= MOST_TOKENS and sum(sizes) <= MOST_TOKENS_TOGETHER


def tokens_problem(model: EmbeddingModel, counts: Sequence[int]) -> str | None:
    """Say which input has too many tokens for a model; None where all of them can be sent."""
    for place, count in enumerate(counts):
        if count > MOST_TOKENS:
            return (
                f"data.input.{place} has {count} tokens: {model.name} takes at most {MOST_TOKENS}"
                " in an input; split the text"
            )
    if sum(counts) > MOST_TOKENS_TOGETHER:
        return (
            f"data.input has {sum(counts)} tokens in all: {model.name} takes at most"
            f" {MOST_TOKENS_TOGETHER} in a request; split the intent"
        )
    return None
