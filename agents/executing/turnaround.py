"""How long intents were away in batches lately, as the worker sees it to which they come back."""

from agents.deciding.batching import PAST, expected_ms

__all__ = ["TurnAround"]


class TurnAround:
    """Of each model the last batches; it begins anew with its worker, knowing nothing."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._took: dict[tuple[str, str], dict[str, int]] = {}

    def learn(self, provider: str, model: str, batch_id: str, took_ms: int) -> None:
        """Note how long a line was away; of a batch, its slowest counts."""
        took = self._took.setdefault((provider, model), {})
        took[batch_id] = max(took_ms, took.get(batch_id, 0))
        if len(took) > PAST:
            del took[next(iter(took))]

    def expected_ms(self, provider: str, model: str) -> int | None:
        """Give how long the next one is away; None = nothing is known."""
        return expected_ms([*self._took.get((provider, model), {}).values()])
