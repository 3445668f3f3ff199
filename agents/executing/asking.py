"""One call as it is planned, and as it is under way; values."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from agents.executing.account import Execution
from agents.executing.kept import Holder
from agents.providers.adapters import ChatRequest, Provider
from agents.providers.keeping import Keeping
from agents.task import Task
from schemas.attempt import ProviderAttempt
from schemas.intent import WorkflowIntent
from schemas.vocabulary import Priority

__all__ = ["Call", "Sent", "request_of"]

#: Output tokens counted against a provider's limit before the answer is there.
ASSUMED_OUTPUT_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Call:
    """One call before it is made: to whom, with what, and what it may cost at most."""

    provider: Provider
    #: The provider's own name for it.
    model: str
    messages: list[dict[str, Any]]
    prompt_tokens: int
    max_output: int | None
    #: Dollars that it cannot exceed; None = no price is known.
    bound_usd: Decimal | None = None
    #: Whether its answer is cut short for want of money.
    cut: bool = False
    #: Place in the route, for a call beside the first one.
    hedge_at: int | None = None
    #: Whether the intent chose that name; else the configuration did.
    own_model: bool = False
    #: Whether it asks for embeddings.
    embeds: bool = False

    @property
    def keeping(self) -> Keeping | None:
        """Where its answer is kept until somebody fetches it; None = it is not."""
        return None if self.embeds else self.provider.keeping

    def expected_tokens(self, intent: WorkflowIntent) -> int:
        """Give the tokens that count against the provider's limit before the answer is there.

        What money cuts an answer to says nothing of how long it will be; what was asked for does.
        """
        if self.embeds:
            return self.prompt_tokens
        longest = intent.max_output_tokens or ASSUMED_OUTPUT_TOKENS
        return self.prompt_tokens + min(self.max_output or longest, longest)


@dataclass(frozen=True, slots=True)
class Sent:
    """One call that is made: for which execution, since when, on record as what."""

    run: Execution
    call: Call
    started: ProviderAttempt
    #: Its begin, on the monotonic clock.
    since: float
    #: Who puts on record where its answer is; None where the provider keeps none.
    holder: Holder | None = None


def request_of(
    intent: WorkflowIntent,
    messages: list[dict[str, Any]],
    started: ProviderAttempt,
    *,
    max_output: int | None,
    task: Task | None = None,
    within_s: float | None = None,
) -> ChatRequest:
    """Give what a provider is asked for; without `task` it is a line that has no trace."""
    return ChatRequest(
        messages=messages,
        attempt_id=started.attempt_id,
        attempt=started.attempt,
        model=started.requested_model,
        max_output_tokens=max_output,
        temperature=intent.temperature,
        response_schema=intent.response_schema,
        parameters=intent.parameters,
        trace_headers=task.trace_headers if task else {},
        trace=task.trace_context if task else None,
        within_s=within_s,
        low_priority=intent.priority is Priority.LOW,
    )
