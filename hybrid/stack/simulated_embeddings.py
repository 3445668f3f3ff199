"""The simulated embeddings: a vector follows from its text alone, and is about of length 1."""

import base64
import hashlib
import math
import sys
from array import array
from collections.abc import Mapping
from typing import Any

from hybrid.stack.simulated import Call, charge

__all__ = ["embedded", "vector_of"]

#: Model → numbers of a vector where nobody asks for fewer; of others as many as of the first.
DIMENSIONS = {
    "text-embedding-3-small": 1_536,
    "text-embedding-3-large": 3_072,
    "text-embedding-ada-002": 1_536,
}
OTHERS = 1_536
#: Of numbers that are spread evenly from -1 to 1, the mean of their squares.
MEAN_SQUARE = 1 / 3


def vector_of(text: str, dimensions: int) -> "array[float]":
    """Make up a vector that depends on its text and length only."""
    scale = 1 / math.sqrt(dimensions * MEAN_SQUARE)
    values = [(byte - 127.5) / 127.5 * scale for byte in range(256)]
    digest = hashlib.shake_128(text.encode("utf-8", "replace")).digest(dimensions)
    return array("f", [values[byte] for byte in digest])


def embedded(call: Call, body: Mapping[str, Any], wants: Mapping[str, str]) -> dict[str, Any]:
    """Answer a request for embeddings, and bill it: a token for every 4 characters of an input.

    `tokens` in a text says another number of them in all, `vectors` how many come, `dimensions` how
    long they are whatever is asked for.
    """
    given = body.get("input", [])
    texts = [given] if isinstance(given, str) else given
    usual = body.get("dimensions") or DIMENSIONS.get(call.model, OTHERS)
    dimensions = int(wants.get("dimensions") or usual)
    tokens = int(wants.get("tokens") or sum(max(1, len(text) // 4) for text in texts))
    call.status, call.tokens = 200, tokens
    call.billed_usd = format(charge(call, tokens, 0), "f")
    shown = texts[: int(wants["vectors"])] if "vectors" in wants else texts
    as_text = body.get("encoding_format") == "base64"
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": place,
                "embedding": _written(vector_of(text, dimensions), as_text=as_text),
            }
            for place, text in enumerate(shown)
        ],
        "model": call.model,
        **({} if "no_usage" in wants else {"usage": _usage(tokens)}),
    }


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _written(vector: "array[float]", *, as_text: bool) -> str | list[float]:
    if not as_text:
        return vector.tolist()
    if sys.byteorder == "big":
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()
