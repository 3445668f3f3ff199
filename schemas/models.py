"""Model groups: the `[[models]]` tables of hybrid.toml."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from schemas.tables import Table

__all__ = ["ModelSpec", "PlaceSpec"]

Model = Annotated[str, Field(min_length=1, max_length=512)]
#: Parts of a whole, whatever they add up to.
Weight = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class PlaceSpec(Table):
    """What a group is at one provider."""

    model: Model
    """The provider's own name for it: a model, or a deployment at Azure."""
    base_model: str = ""
    """The model that this really is, where it is not the group's `base_model`."""
    weight: Weight | None = None
    """Its share of the intents that may begin at several providers, beside the others' weights; 0:
    it only stands in. Where no provider of the group has one, the route's order holds."""


class ModelSpec(Table):
    """One model under one name, which each provider may call something else."""

    name: Model
    """What intents call it, in their field `model`."""
    at: dict[str, PlaceSpec] = Field(min_length=1)
    """Provider → its own name for the model, or `{ model, base_model, weight }`. A provider that
    is not named here does not have it, and is passed over."""
    base_model: str = ""
    """The model that it really is, where the names do not say: for its price where an answer does
    not name what served it, and for bounds before there is one."""

    @field_validator("at", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        """Read a mere name as the place it stands for."""
        if not isinstance(value, dict):
            return value
        return {
            provider: {"model": place} if isinstance(place, str) else place
            for provider, place in value.items()
        }

    @model_validator(mode="after")
    def _somewhere_first(self) -> "ModelSpec":
        """Refuse weights by which no provider would ever be first."""
        weights = [place.weight for place in self.at.values() if place.weight is not None]
        if weights and not any(weights):
            message = f"model {self.name}: one of its weights must be above 0"
            raise ValueError(message)
        return self

    def base_at(self, provider: str) -> str:
        """Give what the model really is at a provider that has it; empty where nobody says."""
        return self.at[provider].base_model or self.base_model
