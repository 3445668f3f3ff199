"""Embeddings: what an intent of that task may say, and vectors as results carry them; pure.

A vector is written as base64 of its numbers, each 4 bytes, little-endian (float32), as OpenAI
writes it for `encoding_format = "base64"`; or as a list of numbers where the intent wants `float`
(https://developers.openai.com/api/reference/resources/embeddings/methods/create).
"""

import base64
import math
import sys
from array import array
from collections.abc import Iterable, Sequence

from schemas.intent import WorkflowIntent
from schemas.parameters import KNOWN

__all__ = ["MOST_INPUTS", "embedding_problem", "inputs_of", "packed", "unpacked", "written"]

#: Texts of one request at OpenAI and Azure.
MOST_INPUTS = 2_048
#: No model's vectors are longer.
MOST_DIMENSIONS = 65_536
#: What says something of an answer in words, which an embedding is not.
OF_WORDS = ("response_schema", "max_output_tokens", "temperature")
#: Of the parameters that are known of chats, those that an embedding has too.
TAKEN = frozenset({"user"})
ENCODINGS = ("base64", "float")
#: Digits by which a float32 is known again.
DIGITS = 9


def inputs_of(intent: WorkflowIntent) -> list[str]:
    """Give the texts of an intent, in their order; what is no text is left out."""
    given = intent.data.get("input")
    texts = given if isinstance(given, list) else [given]
    return [one for one in texts if isinstance(one, str)]


def embedding_problem(intent: WorkflowIntent) -> str | None:
    """Say what is wrong with an intent of task embedding; None where it can be sent."""
    return (
        _wrong_input(intent.data.get("input")) or _wrong_beside(intent) or _wrong_parameter(intent)
    )


def _wrong_input(given: object) -> str | None:
    if given == "":
        return "data.input is empty: task embedding takes a text, or a list of texts"
    if isinstance(given, str):
        return None
    if not isinstance(given, list) or not given:
        return "data.input is missing: task embedding takes a text, or a list of texts"
    if len(given) > MOST_INPUTS:
        return (
            f"data.input has {len(given)} texts: at most {MOST_INPUTS} are taken; split the intent"
        )
    for place, one in enumerate(given):
        if not isinstance(one, str) or not one:
            return f"data.input.{place}: each input must be a text that is not empty"
    return None


def _wrong_beside(intent: WorkflowIntent) -> str | None:
    """Name what goes with words only; left in place it would be dropped in silence."""
    if "messages" in intent.data:
        return "data.messages: task embedding takes data.input, and no chat beside it"
    if intent.send_to_onlyfans:
        return "send_to_onlyfans: an embedding has no content that could be delivered"
    for name in OF_WORDS:
        if getattr(intent, name) is not None:
            return f"{name}: task embedding takes none; leave it out"
    return None


def _wrong_parameter(intent: WorkflowIntent) -> str | None:
    for name, wanted in intent.parameters.items():
        if name in KNOWN and name not in TAKEN:
            return f"parameters.{name}: task embedding takes none; leave it out"
        if name == "input":
            return "parameters.input is said by input in data"
        if name == "dimensions":
            whole = isinstance(wanted, int) and not isinstance(wanted, bool)
            if not (whole and 1 <= wanted <= MOST_DIMENSIONS):
                return f"parameters.dimensions must be a whole number from 1 to {MOST_DIMENSIONS}"
        if name == "encoding_format" and wanted not in ENCODINGS:
            return "parameters.encoding_format must be base64 or float"
    return None


def packed(numbers: Iterable[float]) -> str:
    """Write a vector as base64; raises ValueError, TypeError for what is none."""
    vector = array("f", numbers)
    _require_finite(vector)
    return base64.b64encode(_little(vector).tobytes()).decode()


def unpacked(text: str) -> "array[float]":
    """Read a vector from base64; raises ValueError for what is none."""
    vector = array("f")
    vector.frombytes(base64.b64decode(text, validate=True))
    vector = _little(vector)
    _require_finite(vector)
    return vector


def written(vectors: Sequence[str], encoding_format: object) -> list[str] | list[list[float]]:
    """Give vectors as an intent wants them: base64, or with `float` as lists of numbers."""
    if encoding_format != "float":
        return list(vectors)
    return [[float(f"{number:.{DIGITS}g}") for number in unpacked(one)] for one in vectors]


def _require_finite(vector: "array[float]") -> None:
    if not vector or not math.isfinite(sum(vector)):  # a sum of float32 leaves no float64
        message = "a vector has numbers, all of them finite"
        raise ValueError(message)


def _little(vector: "array[float]") -> "array[float]":
    """Give the bytes of a vector, or the vector of such bytes, in the other order where need be."""
    if sys.byteorder == "big":  # pragma: no cover - none of our machines
        vector = vector[:]
        vector.byteswap()
    return vector
