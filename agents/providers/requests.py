"""One call as it is asked for, who may serve it, and how its answer travels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from agents.providers.batching import Batching
from agents.providers.inquiry import Finding
from agents.providers.keeping import Keeper, Keeping
from agents.providers.replies import ChatReply
from schemas.intent import TraceContext
from schemas.providers import TimeLimitSpec

__all__ = ["ChatRequest", "Provider", "Transport"]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call: messages and parameters, with the identity it is sent under."""

    messages: list[dict[str, Any]]
    attempt_id: str
    attempt: int = 1
    model: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    response_schema: dict[str, Any] | None = None
    #: What else the intent asks of the provider.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: `traceparent` and `tracestate`, where the intent brought them.
    trace_headers: Mapping[str, str] = field(default_factory=dict)
    trace: TraceContext | None = None
    #: Seconds that are left for it; None = the provider's own time limit.
    within_s: float | None = None
    low_priority: bool = False

    @property
    def embeds(self) -> bool:
        """Whether vectors are wanted: messages that nobody says are inputs (`prompts.render`)."""
        return bool(self.messages) and "role" not in self.messages[0]


class Provider(Protocol):
    """One place that serves models."""

    @property
    def name(self) -> str:
        """What attempts, results and routes call it."""
        ...

    @property
    def kind(self) -> str:
        """`openai` or `azure`: how it is spoken to."""
        ...

    @property
    def deployment(self) -> str:
        """The Azure deployment; empty elsewhere."""
        ...

    @property
    def model(self) -> str:
        """The model (deployment) used when the intent names none."""
        ...

    @property
    def embedding_model(self) -> str:
        """The same for embeddings; empty where it has none of its own."""
        ...

    def limit_s(self, model: str | None) -> float:
        """Give the time limit of one call to a model (None: the provider's own), in seconds."""
        ...

    async def complete(self, request: ChatRequest, keeper: Keeper | None = None) -> ChatReply:
        """Make one call; raises ExecutionError.

        `keeper` is told where the answer is, where the provider keeps answers; what it raises comes
        as NotKeptError.
        """
        ...

    @property
    def keeping(self) -> Keeping | None:
        """Where its answers are kept until somebody fetches them; None = they are not."""
        ...

    @property
    def batching(self) -> Batching | None:
        """Where its batches are made; None = it has none."""
        ...

    @property
    def keys(self) -> tuple[str, ...]:
        """What the log calls each of its keys; never a key."""
        ...

    @property
    def usable_keys(self) -> int:
        """How many of them are usable, as far as is known."""
        ...

    async def inquire(
        self, models: Mapping[str, str], *, within_s: float, key: int = 0
    ) -> list[Finding]:
        """Ask what it knows of models (name → what it really is), by calls that cost nothing.

        `key`: with which of its keys. Raises SecretError where there is none to ask with.
        """
        ...

    async def close(self) -> None:
        """Give the connections back."""
        ...


@dataclass(frozen=True, slots=True)
class Transport:
    """How answers travel, and which tier they are asked from; times in seconds."""

    stream: bool = False
    first_token_s: float = 10.0
    idle_s: float = 5.0
    #: Time limits by model, and which of the provider's own were set and so hold for all.
    time_lines: tuple[TimeLimitSpec, ...] = ()
    set_limits: frozenset[str] = frozenset()
    #: Model (deployment) → what it really is, where that is said.
    bases: Mapping[str, str] = field(default_factory=dict)
    low_tier: str = ""
    low_tier_price: Decimal = Decimal("0.5")
