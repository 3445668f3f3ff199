"""What a simulated provider is told to do, and what it has seen, as values."""

from dataclasses import dataclass, field

__all__ = ["Call", "Faults"]


@dataclass
class Faults:
    """How one provider behaves; rates are fractions of calls, drawn from the call's own id."""

    rate_429: float = 0.0
    rate_5xx: float = 0.0
    rate_hang: float = 0.0
    rate_reset: float = 0.0
    rate_slow: float = 0.0
    latency_ms: float = 20.0
    slow_factor: float = 10.0
    retry_after: str | None = "1"
    #: Every call gets this status, or "hang" or "reset", until it is cleared.
    always: str | None = None
    #: The next answers, in order: statuses, "hang", "reset", "ok".
    plan: list[str] = field(default_factory=list)


@dataclass
class Call:
    """One request as the simulator saw it."""

    sequence: int
    at: float
    provider: str
    model: str
    attempt_id: str
    intent: str
    status: int
    outcome: str
    tokens: int
    billed_usd: str
