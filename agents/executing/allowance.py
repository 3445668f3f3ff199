"""How long an answer may be for the money that is left; pure.

Two purses pay for a call: the intent's own (`max_cost_usd`), and its tenant's budgets.
"""

from dataclasses import dataclass
from decimal import Decimal

from agents.deciding.budgets import OverBudget, Room
from agents.pricing.limits import MOST_OUTPUT
from agents.pricing.rates import Prompt, Rates
from schemas.intent import WorkflowIntent

__all__ = ["Length", "Short", "length_of", "within_budget", "within_limit"]

#: Output tokens that every chat model takes as a limit.
DEFAULT_OUTPUT_TOKENS = 4096
#: An answer that money cuts shorter than this is paid for and says nothing.
FEWEST_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Short:
    """Why no call is made: the money does not pay for one; without a budget it is the intent's."""

    over: OverBudget | None = None
    #: Whether calls in flight hold what it needs, so that it is worth looking again shortly.
    soon: bool = False


@dataclass(frozen=True, slots=True)
class Length:
    """How long an answer may be, in tokens."""

    #: What the provider is told; None = nothing.
    cap: int | None
    #: What it cannot exceed.
    most: int
    #: What it is told where money is limited.
    longest: int
    #: Whether money makes it shorter than that.
    cut: bool = False

    def within(self, usd: Decimal, rates: Rates, prompt: Prompt) -> "Length | None":
        """Cut it to what an amount pays for; None = for nothing that is worth a call."""
        affordable = rates.affordable_output(prompt, usd)
        if affordable is None:
            return self
        if affordable < min(self.longest, FEWEST_TOKENS):
            return None
        most = min(affordable, self.longest)
        return Length(most, most, self.longest, cut=self.cut or affordable < self.longest)


#: Nothing is written: only the prompt has to be paid for. What money is held against is `longest`.
NO_ANSWER = Length(None, 0, FEWEST_TOKENS)


def length_of(intent: WorkflowIntent, limit: int, *, known: bool, window: int | None) -> Length:
    """Give what an answer's length is bounded by before money is thought of.

    `limit` bounds what the model writes; `known`: it is the model's own limit, no mere bound. Where
    money is limited the provider is told a length, and what the model does not take would be
    refused: so few tokens where its own limit is not known; and at most half of its window, which
    must hold the prompt too.
    """
    if intent.task == "embedding":
        return NO_ANSWER
    asked = intent.max_output_tokens
    longest = asked or DEFAULT_OUTPUT_TOKENS
    if known:
        longest = min(asked or limit, limit, window // 2 if window else limit)
    return Length(asked, min(asked or limit, limit), longest)


def within_limit(
    length: Length, left_usd: Decimal, rates: Rates | None, prompt: Prompt
) -> Length | Short:
    """Cut an answer to what is left of the intent's own limit."""
    within = None if rates is None else length.within(left_usd, rates, prompt)
    return Short() if within is None else within


def within_budget(
    length: Length, room: Room, spent_usd: Decimal, rates: Rates | None, prompt: Prompt
) -> Length | Short:
    """Cut an answer to what is left of its tenant's budget, beside what the execution spent.

    Money that other calls in flight hold is waited for rather than done without. Where the longest
    answer that any model writes would fit, the provider is told nothing.
    """
    left = room.usd - spent_usd
    if rates is None:
        bound = room.over.budget.unpriced_usd
        return length if bound <= left else Short(room.over, soon=room.held)
    if room.held and rates.at_most(prompt, length.most) > left:
        return Short(room.over, soon=True)
    surely = max(length.most, MOST_OUTPUT) if length.cap is None else length.most
    if rates.at_most(prompt, surely) <= left:
        return length
    return length.within(left, rates, prompt) or Short(room.over)
