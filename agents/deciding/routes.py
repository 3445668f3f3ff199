"""Which providers serve an intent, in which order; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from agents.deciding.groups import Groups
from schemas.providers import RouteSpec
from schemas.vocabulary import Priority

__all__ = ["Routable", "Router", "Sketch"]


class Routable(Protocol):
    """What of an intent its route depends on."""

    @property
    def type(self) -> str:
        """The intent's type."""
        ...

    @property
    def priority(self) -> Priority:
        """How urgent it is."""
        ...

    @property
    def requires_multi_platform(self) -> bool:
        """Whether it is for several platforms."""
        ...

    @property
    def force_provider(self) -> str | None:
        """The provider it is pinned to."""
        ...

    @property
    def model(self) -> str | None:
        """The model, or the group of models, that it asks for."""
        ...

    @property
    def task(self) -> str:
        """`chat` or `embedding`."""
        ...


@dataclass(frozen=True, slots=True)
class Sketch:
    """The routable part of an intent, read without the rest."""

    type: str
    priority: Priority = Priority.MEDIUM
    requires_multi_platform: bool = False
    force_provider: str | None = None
    model: str | None = None
    task: str = "chat"


class Router:
    """The routes of one configuration."""

    def __init__(
        self,
        kinds: Mapping[str, str],
        routes: Sequence[RouteSpec] = (),
        groups: Groups | None = None,
        embedders: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Keep the providers with their kinds, the routes (none = the built-in ones), the groups.

        Groups are those of models; `embedders` says what the embedding model of a provider is.
        """
        self._embedders = dict(embedders)
        self._kinds = dict(kinds)
        self._routes = tuple(routes)
        self.groups = groups or Groups()

    def route(self, intent: Routable, *, identity: str) -> tuple[str, ...]:
        """Give the providers to visit, first choice first; empty where none can serve it.

        One that lacks the group of models that is asked for is left out. `identity` is the intent's
        id: where providers share a group by weight, it says who is first.
        """
        planned = self._planned(intent)
        if intent.task == "embedding" and intent.model is None:
            return self._alike(planned)
        return self.groups.ordered(intent.model, planned, identity)

    def _alike(self, planned: tuple[str, ...]) -> tuple[str, ...]:
        """Leave those whose embedding model is the first one's: others' vectors lie elsewhere."""
        having = [name for name in planned if name in self._embedders]
        wanted = {self._embedders[name] for name in having[:1]}
        return tuple(name for name in having if self._embedders[name] in wanted)

    def absence(self, intent: Routable) -> tuple[str, str]:
        """Say why an intent's route is empty: an error's code, and a sentence."""
        planned = ", ".join(self._planned(intent))
        model = intent.model
        if planned and model is None:
            message = (
                f"no provider of the intent's route ({planned}) has a model for task embedding:"
                " name one in the intent, or set HYBRID_OPENAI_EMBEDDING_MODEL,"
                " HYBRID_AZURE_EMBEDDING_DEPLOYMENT or embedding_model of the provider"
            )
            return "no_embedding_model", message
        if not planned or model is None:
            forced = intent.force_provider
            return "provider_not_configured", f"provider {forced} is not configured"
        having = ", ".join(self.groups.having(model))
        message = (
            f"no provider of the intent's route ({planned}) has model {model}: [[models]] has it "
            f"at {having}"
        )
        return "model_not_at_provider", message

    def _planned(self, intent: Routable) -> tuple[str, ...]:
        """Give the providers to visit, whatever model is asked for; empty without the forced one.

        `force_provider` pins: the intent waits for that provider (or another of that kind, where
        none has the name) rather than go elsewhere. Otherwise the first configured route that
        fits; without routes the built-in choice by type, then all others in their order.
        """
        forced = intent.force_provider
        if forced in self._kinds:
            return (forced,)
        if forced is not None:
            return tuple(name for name, kind in self._kinds.items() if kind == forced)
        for route in self._routes:
            if _fits(route, intent):
                return route.providers
        first = _first_kind(intent)
        return tuple(sorted(self._kinds, key=lambda name: self._kinds[name] != first))


def _fits(route: RouteSpec, intent: Routable) -> bool:
    return (
        (not route.types or intent.type in route.types)
        and (not route.priorities or intent.priority in route.priorities)
        and route.requires_multi_platform in {None, intent.requires_multi_platform}
    )


def _first_kind(intent: Routable) -> str:
    match intent.type:
        case "content_planning":
            return "azure"
        case "campaign_execution" if intent.requires_multi_platform:
            return "azure"
        case _:
            return "openai"
