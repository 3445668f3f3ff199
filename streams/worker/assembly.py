"""The parts of the decision core as the settings want them: routes, policy, limits, hedges."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from agents.capacity.breaker import BreakerPolicy
from agents.capacity.limiter import ProviderLimits
from agents.capacity.turns import BreakerChange, Capacity
from agents.clock import Clock
from agents.deciding.groups import Groups
from agents.deciding.hedging import HedgePolicy
from agents.deciding.overrides import overrides_of
from agents.deciding.policy import RetryPolicy
from agents.deciding.protecting import Protection
from agents.deciding.routes import Router
from agents.executing.executor import Rules
from agents.pricing.prices import PriceBook
from agents.providers.adapters import Provider
from schemas.settings import Settings

__all__ = ["capacity_of", "policy_of", "router_of", "router_over", "rules_of", "types_of"]


def router_of(settings: Settings, providers: Mapping[str, Provider]) -> Router:
    """Build the router over the providers that can be called (their keys are set)."""
    return router_over(settings, {name: provider.kind for name, provider in providers.items()})


def router_over(settings: Settings, kinds: Mapping[str, str]) -> Router:
    """Build the router over providers, given with their kinds."""
    cut = [
        route.model_copy(
            update={"providers": tuple(name for name in route.providers if name in kinds)}
        )
        for route in settings.routes
    ]
    routes = [route for route in cut if route.providers]
    return Router(kinds, routes, Groups(settings.models), settings.embedders())


def types_of(settings: Settings, prompts: Mapping[str, str]) -> frozenset[str] | None:
    """Give the types of intents that are taken: with a template, a route, or named; None = any."""
    if "*" in settings.hybrid_types:
        return None
    routed = [kind for route in settings.routes for kind in route.types]
    return frozenset([*prompts, *settings.hybrid_types, *routed]) - {"default"}


def capacity_of(
    settings: Settings,
    providers: Mapping[str, Provider],
    *,
    clock: Clock,
    on_change: Callable[[BreakerChange], None],
) -> Capacity:
    """Build what knows how much each provider can take."""
    limits = {
        spec.name: ProviderLimits(spec.requests_per_minute, spec.tokens_per_minute, spec.in_flight)
        for spec in settings.provider_specs
        if spec.name in providers
    }
    health = BreakerPolicy(calls=settings.hybrid_breaker_calls, open_s=settings.hybrid_breaker_open)
    return Capacity(limits, health, clock=clock, on_change=on_change)


def rules_of(settings: Settings, *, prices: PriceBook, prompts: Mapping[str, str]) -> Rules:
    """Build what the configuration says of all executions."""
    return Rules(
        policy=policy_of(settings),
        hedging=hedging_of(settings),
        prices=prices,
        prompts=prompts,
        cache_ttl_s=settings.hybrid_cache_ttl,
        types=types_of(settings, prompts),
        batch_margin_s=settings.hybrid_batch_margin,
        max_record_bytes=settings.max_record_bytes,
        protection=protection_of(settings),
    )


def policy_of(settings: Settings) -> RetryPolicy:
    """Build the policy with the user's own lines."""
    return RetryPolicy(
        retry_delays=settings.hybrid_retry_delays,
        defer_delays=settings.hybrid_defer_delays,
        fallback_on=frozenset(settings.hybrid_fallback_on),
        overrides=overrides_of(settings),
    )


def protection_of(settings: Settings) -> Protection:
    """Build what keeps from providers what they are not to see."""
    return Protection(settings.hybrid_protect, settings.protect)


def hedging_of(settings: Settings) -> HedgePolicy:
    """Build who is hedged, and how much at most."""
    return HedgePolicy(
        who=frozenset(settings.hybrid_hedge),
        most_share=settings.hybrid_hedge_share,
        most_usd_an_hour=Decimal(str(settings.hybrid_hedge_usd_per_hour)),
    )
