"""What replaying a dead letter costs: as is to be expected, and at the most.

Prices, routes and the bound of a call are those that a worker goes by; the bound is that of one
answered call. Calls that time out, and answers that are asked for again, may come on top.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from agents.deciding.routes import Router
from agents.executing.allowance import length_of
from agents.executing.attempts import characters
from agents.executing.prompts import load_prompts, render
from agents.pricing.book import book_of
from agents.pricing.limits import prompt_of
from agents.pricing.rates import Prompt, Rates
from agents.pricing.usage import Usage, estimate_tokens
from schemas.codec import IntentError, decode_intent
from schemas.intent import WorkflowIntent
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from streams.publishing.intents import routes
from streams.publishing.originals import original_body
from streams.triage.typical import Typical

__all__ = ["Estimator", "Priced", "Refusal", "readable"]

#: Prices depend on a prompt's length in steps far wider than this.
STEP = 1_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a worker would refuse the intent again, before any call."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Priced:
    """Where a replay goes, and what it costs; None = it is not known."""

    route: tuple[str, ...]
    input_tokens: int
    expected_usd: Decimal | None
    most_usd: Decimal | None
    #: Tokens of the answer, as they usually are; None = it is not known.
    output_tokens: int | None = None


def readable(
    settings: Settings, router: Router, letter: DeadLetter
) -> tuple[WorkflowIntent, tuple[str, ...]] | Refusal:
    """Read a dead letter's intent and give its route, or why it would be refused again."""
    if letter.is_without_content:
        return Refusal("content_gone", letter.suggested_action)
    try:
        intent = decode_intent(original_body(letter), max_bytes=settings.hybrid_max_intent_bytes)
    except IntentError as error:
        return Refusal(error.code, error.message)
    route = router.route(intent, identity=letter.intent_id)
    return (intent, route) if route else Refusal(*router.absence(intent))


class Estimator:
    """Prices the replays of one plan."""

    def __init__(self, settings: Settings, typical: Typical, *, at: datetime) -> None:
        """Read prices and prompts; raises ValueError, OSError for what cannot be read."""
        folder = Path(settings.hybrid_prompts_dir) if settings.hybrid_prompts_dir else None
        self._settings = settings
        self._prompts: Mapping[str, str] = load_prompts(folder)
        self._specs = {spec.name: spec for spec in settings.provider_specs}
        self._book = book_of(settings)
        self._typical = typical
        self._at = at
        self.router = routes(settings)
        self._worst = lru_cache(4_096)(self._worst_rates)
        self._rates = lru_cache(4_096)(self._usual_rates)

    def price(self, letter: DeadLetter) -> Priced | Refusal:
        """Price the replay of one dead letter."""
        found = readable(self._settings, self.router, letter)
        if isinstance(found, Refusal):
            return found
        intent, route = found
        messages = render(intent, self._prompts)
        tokens = estimate_tokens(characters(messages))
        bounds = [self._most(intent, name, messages) for name in route]
        known = [one for one in bounds if one is not None]
        most = max(known) if len(known) == len(bounds) else None
        if most is not None and intent.max_cost_usd is not None:
            most = min(most, intent.max_cost_usd)
        answer = self._answer(intent, route[0])
        return Priced(route, tokens, self._expected(intent, route[0], tokens, answer), most, answer)

    def _most(
        self, intent: WorkflowIntent, provider: str, messages: list[dict[str, object]]
    ) -> Decimal | None:
        """Bound one call at a provider, as `Planner` does before it makes one."""
        who, names = self._sold(intent, provider)
        window = self._book.window(who, names)
        schema = intent.response_schema
        beside = {"schema": schema, **intent.parameters} if intent.parameters else schema
        prompt = prompt_of(messages, models=names, schema=beside, window=window)
        rates = self._worst(who, names, -(-prompt.tokens // STEP) * STEP)
        limit, known = self._book.longest(who, names)
        length = length_of(intent, limit, known=known, window=window)
        if rates is not None and intent.task == "embedding":
            rates = rates.asked_only()
        return None if rates is None else rates.at_most(prompt, length.most)

    def _answer(self, intent: WorkflowIntent, provider: str) -> int | None:
        """Say how many tokens an answer usually has."""
        if intent.task == "embedding":
            return 0
        output = self._typical.output_tokens(intent.type, provider)
        return None if output is None else min(output, intent.max_output_tokens or output)

    def _expected(
        self, intent: WorkflowIntent, provider: str, tokens: int, answer: int | None
    ) -> Decimal | None:
        if answer is None:
            return None
        who, names = self._sold(intent, provider)
        rates = self._rates(who, names, -(-tokens // STEP) * STEP)
        if rates is None:
            return None
        return rates.usd(Usage(uncached_input=tokens, visible_output=answer))

    def _sold(
        self, intent: WorkflowIntent, provider: str
    ) -> tuple[tuple[str, str], tuple[str, ...]]:
        spec = self._specs[provider]
        who = (spec.name, spec.kind)
        model = self.router.groups.name_at(intent.model, provider) if intent.model else None
        own = spec.embedding_model if intent.task == "embedding" else spec.own_model
        return who, self._book.seller(who).names(model or own)

    def _worst_rates(
        self, who: tuple[str, str], names: tuple[str, ...], tokens: int
    ) -> Rates | None:
        return self._book.worst(who, names, Prompt(tokens), at=self._at)

    def _usual_rates(
        self, who: tuple[str, str], names: tuple[str, ...], tokens: int
    ) -> Rates | None:
        return self._book.rates(who, names, at=self._at, prompt_tokens=tokens)
