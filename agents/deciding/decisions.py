"""What the policy can say, as values; every reader handles each of them (`assert_never`); pure."""

from dataclasses import dataclass

from schemas.vocabulary import DeadLetterReason

__all__ = ["Decision", "Defer", "Fallback", "GiveUp", "Go", "Retry", "Step", "Wait"]


@dataclass(frozen=True, slots=True)
class Retry:
    """Call the same provider again after a wait."""

    delay_s: float
    repair: bool = False


@dataclass(frozen=True, slots=True)
class Fallback:
    """Go on to the next provider at once."""

    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class Defer:
    """Put the intent aside on a delayed-retry topic."""

    topic_index: int
    delay_s: float
    not_before_ms: int
    reason: str
    #: Whether providers had their chance; waiting for one that is away does not use up an intent.
    counted: bool = True
    #: When the outage that it waits for was last seen, in milliseconds since 1970; None = none was.
    outage_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Go:
    """Call the provider now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after a short wait for the provider's turn."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the intent with a dead letter."""

    reason: DeadLetterReason


Decision = Retry | Fallback | Defer | GiveUp
Step = Go | Wait | Fallback | Defer | GiveUp
