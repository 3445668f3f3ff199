"""What a simulated provider is told to do, and what it has seen, as values."""

from dataclasses import dataclass, field
from decimal import Decimal

__all__ = ["Call", "Faults", "charge"]

#: What it bills, dollars per 1,000 tokens; its own table, so that ours is checked and not repeated.
BILLED_PER_1000 = {"openai": Decimal("0.002"), "azure": Decimal("0.01")}
#: The same by model where that counts: dollars per million tokens of prompts, and of answers.
BILLED_PER_MILLION = {"gpt-6-luna": (Decimal("0.10"), Decimal("0.50"))}


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


def charge(call: Call, prompt_tokens: int, completion_tokens: int) -> Decimal:
    """Give what a call costs in the standard tier, in dollars."""
    if call.model in BILLED_PER_MILLION:
        per_prompt, per_answer = BILLED_PER_MILLION[call.model]
        return (prompt_tokens * per_prompt + completion_tokens * per_answer) / 1_000_000
    return BILLED_PER_1000[call.provider] * (prompt_tokens + completion_tokens) / 1000
