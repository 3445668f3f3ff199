"""Which providers serve an intent, in which order; pure."""

from collections.abc import Collection

from schemas.intent import WorkflowIntent

__all__ = ["route"]


def route(intent: WorkflowIntent, *, configured: Collection[str]) -> tuple[str, ...]:
    """Give the providers to visit, first choice first; empty when the forced one is absent.

    `force_provider` pins: the intent waits for that provider rather than go elsewhere. Otherwise
    the contract's routing by type, with the other provider as fallback (each visited once).
    """
    if intent.force_provider is not None:
        return (intent.force_provider,) if intent.force_provider in configured else ()
    first = _first_choice(intent)
    return tuple(name for name in (first, _other(first)) if name in configured)


def _first_choice(intent: WorkflowIntent) -> str:
    match intent.type:
        case "content_planning":
            return "azure"
        case "campaign_execution" if intent.requires_multi_platform:
            return "azure"
        case _:
            return "openai"


def _other(provider: str) -> str:
    return "azure" if provider == "openai" else "openai"
