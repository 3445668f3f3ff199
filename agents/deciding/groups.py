"""Model groups: what one name of a model is at each provider, and who of them is first; pure."""

from collections.abc import Sequence
from hashlib import blake2b

from schemas.models import ModelSpec

__all__ = ["Groups"]

#: Bytes of a digest that make up a draw.
DRAWN_BYTES = 8


class Groups:
    """The model groups of one configuration; a name that is no group's stands for itself."""

    def __init__(self, specs: Sequence[ModelSpec] = ()) -> None:
        """Keep them by their names."""
        self._specs = {spec.name: spec for spec in specs}

    def __contains__(self, model: str | None) -> bool:
        """Whether a name is a group's."""
        return model in self._specs

    def having(self, model: str) -> tuple[str, ...]:
        """Name the providers that have a group."""
        return tuple(self._specs[model].at)

    def name_at(self, model: str, provider: str) -> str:
        """Give what a model is called at a provider, which has it."""
        spec = self._specs.get(model)
        return model if spec is None else spec.at[provider].model

    def ordered(
        self, model: str | None, providers: tuple[str, ...], identity: str
    ) -> tuple[str, ...]:
        """Leave out the providers without the model, and put the one first whose turn it is.

        Whose turn it is depends on the intent's identity only: however often an intent is
        delivered or replayed, it begins at the same provider.
        """
        spec = self._specs.get(model or "")
        if spec is None:
            return providers
        left = tuple(name for name in providers if name in spec.at)
        first = _drawn(spec, left, identity)
        return tuple(sorted(left, key=lambda name: name != first))

    def words(self, model: str, providers: tuple[str, ...]) -> str:
        """Name a model by what may serve it, so that a group that is made another is another."""
        if model not in self:
            return model
        places = (f"{name}={self.name_at(model, name)}" for name in sorted(providers))
        return "\n".join((model, *places))


def _drawn(spec: ModelSpec, providers: tuple[str, ...], identity: str) -> str | None:
    """Draw the first provider by the weights; None = the first of the route."""
    weights = [(name, spec.at[name].weight or 0.0) for name in spec.at if name in providers]
    whole = sum(weight for _, weight in weights)
    digest = blake2b(f"{spec.name}\n{identity}".encode("utf-8", "replace"), digest_size=DRAWN_BYTES)
    left = int.from_bytes(digest.digest(), "big") / 2 ** (8 * DRAWN_BYTES) * whole
    for name, weight in weights:
        if left < weight:
            return name
        left -= weight
    return None
