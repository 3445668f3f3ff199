"""Which providers serve an intent, in which order; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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


@dataclass(frozen=True, slots=True)
class Sketch:
    """The routable part of an intent, read without the rest."""

    type: str
    priority: Priority = Priority.MEDIUM
    requires_multi_platform: bool = False
    force_provider: str | None = None


class Router:
    """The routes of one configuration."""

    def __init__(self, kinds: Mapping[str, str], routes: Sequence[RouteSpec] = ()) -> None:
        """Keep the providers with their kinds, and the routes (none = the built-in ones)."""
        self._kinds = dict(kinds)
        self._routes = tuple(routes)

    def route(self, intent: Routable) -> tuple[str, ...]:
        """Give the providers to visit, first choice first; empty when the forced one is absent.

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
