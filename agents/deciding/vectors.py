"""Whether an answer holds the vectors that were asked for; pure."""

from collections.abc import Sequence

from agents.deciding.failures import Failure
from schemas.embeddings import inputs_of, unpacked
from schemas.intent import WorkflowIntent
from schemas.vocabulary import FailureKind

__all__ = ["vectors_failure"]


def vectors_failure(intent: WorkflowIntent, vectors: Sequence[str]) -> Failure | None:
    """Say what is wrong with the vectors of an answer; all of them are of one length."""
    wanted, asked = len(inputs_of(intent)), intent.parameters.get("dimensions")
    if len(vectors) != wanted:
        message = f"the answer has {len(vectors)} vectors for {wanted} inputs"
        return Failure(FailureKind.BAD_OUTPUT, "vectors_missing", message, 200)
    had = len(unpacked(vectors[0]))
    if asked is not None and had != asked:
        message = f"the vectors have {had} dimensions, where {asked} were asked for"
        return Failure(FailureKind.BAD_OUTPUT, "dimensions_differ", message, 200)
    return None
