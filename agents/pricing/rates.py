"""What tokens of each class cost at one moment, and what that makes of a call; Decimal only."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal

from agents.pricing.usage import Usage
from schemas.base import USD_QUANTUM

__all__ = ["Prompt", "Rates", "dearest", "free"]

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the tokens of a prompt cannot exceed; so many of them may be audio."""

    tokens: int = 0
    audio: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars per million tokens of each class; `price_id` says where they come from."""

    price_id: str
    input: Decimal
    cached: Decimal
    output: Decimal
    reasoning: Decimal
    #: Prompt tokens that the provider puts into its cache.
    cache_write: Decimal
    audio_input: Decimal
    audio_output: Decimal
    #: Dollars for each call, whatever its tokens.
    per_call: Decimal = Decimal(0)

    def times(self, share: Decimal, price_id: str) -> "Rates":
        """Give all of them as a share, such as 0.85 under a contract with 15 % off."""
        return Rates(price_id, **{name: getattr(self, name) * share for name in AMOUNTS})

    def asked_only(self) -> "Rates":
        """Give the same for a call that is answered without a token, such as an embedding."""
        return replace(self, output=Decimal(0), reasoning=Decimal(0), audio_output=Decimal(0))

    def usd(self, usage: Usage) -> Decimal:
        """Price a call."""
        return self.parts(usage)[0]

    def parts(self, usage: Usage) -> tuple[Decimal, Decimal]:
        """Price a call, and say what of it its prompt, and the call itself, cost."""
        output = (
            (usage.visible_output - usage.audio_output) * self.output
            + usage.audio_output * self.audio_output
            + usage.reasoning * self.reasoning
        ) / MILLION
        asked = self._input(usage)
        whole = (asked + output).quantize(USD_QUANTUM)
        return whole, min(asked.quantize(USD_QUANTUM), whole)

    def _input(self, usage: Usage) -> Decimal:
        usd = (
            (usage.uncached_input - usage.cache_write - usage.audio_input) * self.input
            + usage.cache_write * self.cache_write
            + usage.audio_input * self.audio_input
            + usage.cached_input * self.cached
        ) / MILLION
        return usd + self.per_call

    def at_most(self, prompt: Prompt, output_tokens: int) -> Decimal:
        """Bound the price of a call by the dearest class that its tokens may turn out to be."""
        per_prompt = max(self.input, self.cached, self.cache_write)
        per_audio = max(per_prompt, self.audio_input)
        usd = (
            (prompt.tokens - prompt.audio) * per_prompt
            + prompt.audio * per_audio
            + output_tokens * max(self.output, self.reasoning)
        ) / MILLION
        return (usd + self.per_call).quantize(USD_QUANTUM)

    def affordable_output(self, prompt: Prompt, usd: Decimal) -> int | None:
        """Give how many output tokens an amount pays for after the prompt; None = any number."""
        left = usd - self.at_most(prompt, 0)
        per_output = max(self.output, self.reasoning)
        if left < 0:
            return 0
        return int(left * MILLION / per_output) if per_output else None


#: The rates among its fields.
AMOUNTS = tuple(one.name for one in fields(Rates) if one.name != "price_id")


def free(price_id: str) -> Rates:
    """Give the rates of what costs nothing."""
    none = Decimal(0)
    return Rates(price_id, none, none, none, none, none, none, none)


def dearest(several: Sequence[Rates]) -> Rates:
    """Put the dearest rate of each class together, under the name of the first."""
    if len(several) == 1:
        return several[0]
    worst = {name: max(getattr(rates, name) for rates in several) for name in AMOUNTS}
    return replace(several[0], **worst)
