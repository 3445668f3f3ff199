"""How long a plan takes, and how well plans have foretold what they cost; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from agents.capacity.limiter import USED_SHARE
from schemas.providers import ProviderSpec
from schemas.vocabulary import RunState
from streams.triage.book import Book

__all__ = ["Load", "duration_at", "errors_of", "past"]

#: So many of the newest runs are held against their plans.
NEWEST = 20


@dataclass(slots=True)
class Load:
    """What a plan asks of a provider first: one call for each letter, answered."""

    calls: int = 0
    tokens: int = 0


def duration_at(specs: Sequence[ProviderSpec], loads: Mapping[str, Load]) -> dict[str, Any]:
    """Say for each provider how many seconds its limits make of it, and by which of them.

    None = neither requests nor tokens a minute are configured: what 429s have taught is known to
    the workers alone.
    """
    found: dict[str, Any] = {}
    limits = {spec.name: spec for spec in specs}
    for name, load in loads.items():
        spec = limits[name]
        needed: dict[str, float] = {}
        if spec.requests_per_minute is not None:
            needed["requests"] = 60 * load.calls / (spec.requests_per_minute * USED_SHARE)
        if spec.tokens_per_minute is not None:
            needed["tokens"] = 60 * load.tokens / spec.tokens_per_minute
        by = max(needed, key=needed.__getitem__) if needed else None
        found[name] = {
            "calls": load.calls,
            "tokens": load.tokens,
            "by": by,
            "seconds": round(needed[by]) if by else None,
        }
    return found


def errors_of(book: Book) -> list[Decimal]:
    """Give by which share the newest runs cost more than was expected; less is below 0.

    Those count that have sent their whole plan, whose replays have all ended, at a known price.
    """
    found = []
    for planned in sorted(book.plans.values(), key=lambda one: one.plan.made_at, reverse=True):
        plan, progress, costs = planned.plan, planned.progress, book.costs.get(planned.plan.plan_id)
        if planned.state is not RunState.DONE or progress is None or costs is None:
            continue
        is_whole = progress.sent == plan.count == costs.ended and not costs.unpriced
        if is_whole and plan.expected_usd:
            found.append((costs.usd - plan.expected_usd) / plan.expected_usd)
    return found[:NEWEST]


def past(book: Book) -> dict[str, Any]:
    """Say how many runs that is, and between which shares their errors are."""
    errors = errors_of(book)
    if not errors:
        return {"runs": 0, "least": None, "most": None}
    return {
        "runs": len(errors),
        "least": round(float(min(errors)), 4),
        "most": round(float(max(errors)), 4),
    }
