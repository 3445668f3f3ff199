"""A batch's files, as far as there are any."""

from agents.deciding.batching import fate
from agents.providers.batching import Batching, SeenBatch
from streams.batching.answers import Told, answers_of

__all__ = ["read_answers"]


async def read_answers(seen: SeenBatch, batching: Batching, *, key: str) -> dict[str, Told] | None:
    """Give what became of the lines of a batch that has ended; None while it goes on.

    Raises what the provider's library raises.
    """
    if fate(seen.status) != "ended":
        return None
    answers: dict[str, Told] = {}
    for file in filter(None, (seen.error_file_id, seen.output_file_id)):
        answers |= answers_of(await batching.read(file, key=key))
    return answers
