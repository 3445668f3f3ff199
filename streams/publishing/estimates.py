"""What replaying dead letters costs at the most."""

from collections.abc import AsyncIterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from agents.executing.prompts import load_prompts, render
from agents.pricing.book import book_of
from agents.pricing.usage import estimate_tokens
from schemas.codec import IntentError, decode_intent
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from streams.publishing.dead_letters import original_value
from streams.publishing.intents import routes

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a replay may cost; `usd` None when a price is not known."""

    count: int
    tokens: int
    usd: Decimal | None


async def estimate(settings: Settings, letters: AsyncIterable[DeadLetter]) -> Estimate:
    """Bound what replaying costs: the prompts, and the longest answers, at the first provider."""
    prompts, tokens, usd = load_prompts(), 0, Decimal(0)
    known, count = True, 0
    specs = {spec.name: spec for spec in settings.provider_specs}
    prices = book_of(settings)
    router = routes(settings)
    async for letter in letters:
        count += 1
        try:
            intent = decode_intent(
                original_value(letter), max_bytes=settings.hybrid_max_intent_bytes
            )
        except IntentError:
            continue
        route = router.route(intent, identity=letter.intent_id)
        if not route:
            continue
        spec = specs[route[0]]
        text = "".join(str(message.get("content")) for message in render(intent, prompts))
        prompt_tokens = estimate_tokens(len(text))
        tokens += prompt_tokens
        bound = prices.upper_bound(
            (spec.name, spec.kind),
            prices.seller((spec.name, spec.kind)).names(
                router.groups.name_at(intent.model, spec.name) if intent.model else spec.own_model
            ),
            prompt_tokens=prompt_tokens,
            max_output_tokens=intent.max_output_tokens,
            at=datetime.now(UTC),
        )
        known = known and bound is not None
        usd += bound or Decimal(0)
    return Estimate(count, tokens, usd if known else None)
