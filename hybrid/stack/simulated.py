"""What a simulated provider is told to do, and what it has seen, as values."""

import hashlib
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

__all__ = ["Batching", "Call", "Faults", "act_of", "charge", "intent_of", "invent", "wants_of"]

DIRECTIVE = re.compile(r"\[\[sim:([^\]]*)\]\]")
MARKER = re.compile(r'"marker":"([^"]{1,80})"')

WORDS = (
    "plan",
    "launch",
    "audience",
    "story",
    "offer",
    "theme",
    "review",
    "channel",
    "week",
    "note",
)

#: What it bills, dollars per 1,000 tokens; its own table, so that ours is checked and not repeated.
BILLED_PER_1000 = {"openai": Decimal("0.002"), "azure": Decimal("0.01")}
#: The same by model where that counts: dollars per million tokens of prompts, and of answers.
BILLED_PER_MILLION = {
    "gpt-6-luna": (Decimal("0.10"), Decimal("0.50")),
    "text-embedding-3-small": (Decimal("0.02"), Decimal(0)),
    "text-embedding-3-large": (Decimal("0.13"), Decimal(0)),
    "text-embedding-ada-002": (Decimal("0.10"), Decimal(0)),
}


@dataclass
class Keeping:
    """How a provider keeps background responses."""

    #: The next answers to looks and cancellations, in order: statuses, "reset", "ok".
    looks: list[str] = field(default_factory=list)
    #: The part of those that are made, of whose making the answer is lost.
    rate_lost: float = 0.0
    #: Milliseconds from the making of one to the answer that says so.
    answer_ms: float = 0.0
    #: Seconds for which one is kept after its end.
    retention_s: float = 600.0
    #: Whether one is found again by the header `Idempotency-Key`.
    idempotent: bool = False


@dataclass
class Batching:
    """How a provider answers batches."""

    #: Seconds from a batch's making to its end.
    turnaround_s: float = 1.0
    #: Seconds from its cancelling to its end.
    cancel_s: float = 0.1
    #: What becomes of the next batches, in order: "ok", a status, "reset" (none is made), "lost"
    #: (made, and the answer is lost), "fails" (validation), "expires", "cancelled", "never".
    plan: list[str] = field(default_factory=list)
    #: The part of the lines that is answered before a batch expires or is cancelled.
    done_share: float = 0.5
    #: Seconds after which a batch is in the list.
    listed_after_s: float = 0.0
    #: The next answers to looks, lists and cancellations, and to files that are read.
    looks: list[str] = field(default_factory=list)
    #: The next answers to uploads: statuses, "lost", "ok".
    uploads: list[str] = field(default_factory=list)
    #: Tokens of prompts in batches of a model that have not ended, at most; None = as many as come.
    most_enqueued: int | None = None


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
    #: The next answers, in order: statuses, "hang", "reset", "lost", "ok".
    plan: list[str] = field(default_factory=list)
    keeping: Keeping = field(default_factory=Keeping)
    batching: Batching = field(default_factory=Batching)

    def __post_init__(self) -> None:
        """Take what came as JSON; raises TypeError for names that are none."""
        if isinstance(self.keeping, dict):
            self.keeping = Keeping(**self.keeping)
        if isinstance(self.batching, dict):
            self.batching = Batching(**self.batching)


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
    #: The batch that it was a line of; empty = it was a request of its own.
    batch: str = ""

    @classmethod
    def of(cls, provider: str, model: str, attempt_id: str, text: str) -> "Call":
        """Begin the entry of a call that has just come."""
        intent = intent_of(text)
        return cls(0, time.time(), provider, model, attempt_id, intent, 0, "200", 0, "0")


def wants_of(text: str) -> dict[str, str]:
    """Read the directives in a message: `[[sim:status=400,retry_after=1]]`."""
    found = (item for one in DIRECTIVE.findall(text) for item in one.split(","))
    return dict(item.partition("=")[::2] for item in found)


def intent_of(text: str) -> str:
    """Find the marker that tests put into `data` to follow an intent to its calls."""
    found = MARKER.search(text)
    return found[1] if found else ""


def act_of(faults: Faults, wants: Mapping[str, str], dice: random.Random) -> str:
    """Choose what becomes of a call: a status, `hang`, `reset`, `lost`."""
    if "hang" in wants:
        return "hang"
    if wants.get("status"):
        return wants["status"]
    if faults.plan:
        step = faults.plan.pop(0)
        return "200" if step == "ok" else step
    if faults.always:
        return faults.always
    draw = dice.random()
    for rate, act in (
        (faults.rate_429, "429"),
        (faults.rate_5xx, "503"),
        (faults.rate_hang, "hang"),
        (faults.rate_reset, "reset"),
        (faults.keeping.rate_lost, "lost"),
    ):
        if draw < rate:
            return act
        draw -= rate
    return "200"


def invent(text: str) -> str:
    """Make up an answer that depends on the prompt only."""
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return " ".join(WORDS[byte % len(WORDS)] for byte in digest[: 8 + digest[0] % 24])


def charge(call: Call, prompt_tokens: int, completion_tokens: int) -> Decimal:
    """Give what a call costs in the standard tier, in dollars."""
    if call.model in BILLED_PER_MILLION:
        per_prompt, per_answer = BILLED_PER_MILLION[call.model]
        return (prompt_tokens * per_prompt + completion_tokens * per_answer) / 1_000_000
    return BILLED_PER_1000[call.provider] * (prompt_tokens + completion_tokens) / 1000
