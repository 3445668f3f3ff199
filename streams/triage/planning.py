"""A plan: which dead letters are replayed, and what that comes to; frozen, with its hash."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from agents.clock import Clock, Dice, uuid7
from schemas.base import Message, format_usd
from schemas.operations import Change, PlanPart, PlanRecord
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from streams.kafka.rights import plan_rights, require_rights
from streams.publishing.contents import Contents
from streams.publishing.dead_letters import Selection
from streams.publishing.kinds import stated_model
from streams.triage.book import Book, hash_of, read_book
from streams.triage.causes import Cause, Causes
from streams.triage.changing import changed, described
from streams.triage.choosing import Choice, Chooser
from streams.triage.foretelling import Load, duration_at, past
from streams.triage.journal import write_operations
from streams.triage.letter_reader import planned_letters
from streams.triage.places import packed
from streams.triage.pricing import Estimator, Priced, Refusal
from streams.triage.stands import standing_records
from streams.triage.surroundings import Needs, budget_effects, providers_out
from streams.triage.typical import read_typical

__all__ = ["VALID_FOR", "make_plan"]

#: Prices, breakers and budgets move on: a plan is begun within this, or made anew.
VALID_FOR = timedelta(minutes=30)
#: Offsets in one record of a plan.
PART = 5_000
#: So many causes are named in a plan's record.
MOST_NAMED = 50


@dataclass(slots=True)
class _Price:
    """What a plan's letters cost together; pure sums."""

    count: int = 0
    tokens: int = 0
    expected_usd: Decimal = Decimal(0)
    most_usd: Decimal = Decimal(0)
    #: Letters of which it is not known.
    without_expected: int = 0
    without_most: int = 0
    unhelped: int = 0
    would_wait: int = 0
    goes_on: int = 0
    by_provider: dict[str, Load] = field(default_factory=lambda: defaultdict(Load))
    by_tenant: dict[str, Needs] = field(default_factory=lambda: defaultdict(Needs))

    def add(self, priced: Priced, tenant: str, *, retriable: bool, out: set[str]) -> None:
        self.count += 1
        self.tokens += priced.input_tokens
        self.unhelped += not retriable
        load = self.by_provider[priced.route[0]]
        load.calls += 1
        load.tokens += priced.input_tokens + (priced.output_tokens or 0)
        if out.issuperset(priced.route):
            self.would_wait += 1
        elif priced.route[0] in out:
            self.goes_on += 1
        self.without_expected += priced.expected_usd is None
        self.without_most += priced.most_usd is None
        need = self.by_tenant[tenant]
        for name, usd in (("expected_usd", priced.expected_usd), ("most_usd", priced.most_usd)):
            setattr(self, name, getattr(self, name) + (usd or 0))
            setattr(need, name, getattr(need, name) + (usd or 0))


class _Look:
    """A look at letters, and what is known of those that were taken in."""

    def __init__(
        self, settings: Settings, estimator: Estimator, changes: Sequence[Change], out: set[str]
    ) -> None:
        self._settings = settings
        self._estimator = estimator
        self._changes = changes
        self._out = out
        self._begin()

    def _begin(self) -> None:
        self.price, self.causes = _Price(), Causes(most=MOST_NAMED)
        #: How many the changes change.
        self.changed = 0

    async def choose(self, selection: Selection, book: Book, chooser: Chooser) -> Choice:
        """Give what may be replayed, having taken it in; what matches is read once."""
        every = replace(selection, limit=None)
        async with Contents(self._settings) as contents:
            async for record, letter, state in standing_records(
                self._settings, every, book, contents
            ):
                if not chooser.wants(letter, state):
                    continue
                whole = await contents.fetched(letter)
                refusal = self._take(whole)
                if refusal is None:
                    chooser.take((record.partition, record.offset), letter)
                else:
                    chooser.refuse(whole, refusal)
        choice = chooser.choice(selection.limit)
        if not choice.is_whole:  # more was taken in than is chosen: those once more
            self._begin()
            async for _, letter in planned_letters(self._settings, choice.places, after={}):
                self._take(letter)
        return choice

    def _take(self, letter: DeadLetter) -> Refusal | None:
        """Take one in, as it is replayed; gives why it cannot be."""
        wanted = changed(letter, self._changes)
        priced = wanted if isinstance(wanted, Refusal) else self._estimator.price(wanted)
        if isinstance(priced, Refusal):
            return priced
        self.changed += wanted is not letter
        self.causes.add(letter, stated_model(letter))
        self.price.add(priced, letter.tenant, retriable=letter.retriable, out=self._out)
        return None


async def make_plan(
    settings: Settings,
    selection: Selection,
    *,
    clock: Clock,
    dice: Dice,
    by: str,
    again: bool = False,
    force: bool = False,
    changes: Sequence[Change] = (),
) -> PlanRecord:
    """Choose, price and write a plan; one without letters is written nowhere.

    `changes` are made in each intent before it is replayed; `by` is who makes the plan. Raises
    ValueError, OSError for prices or prompts that cannot be read, and what Kafka raises.
    """
    await require_rights(settings, plan_rights(settings))
    now = clock.now()
    estimator = Estimator(settings, await read_typical(settings), at=now)
    book, out = await read_book(settings), await providers_out(settings, now=now)
    look = _Look(settings, estimator, changes, set(out))
    choice = await look.choose(selection, book, Chooser(again=again, force=force))
    price = look.price
    plan_id = f"p-{uuid7(clock.now_ms(), dice)[-12:]}"
    parts = list(_parts(plan_id, choice))
    summary = {
        **_numbers(choice, price),
        "causes": [_cause(one, now) for one in look.causes.sorted()],
        "first_provider": {name: one.calls for name, one in price.by_provider.items()},
        "takes": duration_at(settings.provider_specs, price.by_provider),
        "past": past(book),
        "providers_out": out,
        "would_wait": price.would_wait,
        "would_go_to_the_next": price.goes_on,
        "budgets": await budget_effects(settings, price.by_tenant, now=now),
        "changes": [described(one) for one in changes],
        "changed": look.changed,
    }
    plan = PlanRecord(
        plan_id=plan_id,
        made_at=now,
        by=by,
        expires_at=now + VALID_FOR,
        sha256=hash_of(choice.places, changes),
        count=len(choice.places),
        parts=len(parts),
        again=again,
        expected_usd=None if price.without_expected else price.expected_usd,
        most_usd=None if price.without_most else price.most_usd,
        changes=list(changes),
        summary=summary,
    )
    if plan.count:
        await write_operations(settings, [*parts, plan])
    return plan


def _parts(plan_id: str, choice: Choice) -> Iterator[Message]:
    number = 0
    for partition in choice.places.partitions():
        offsets = choice.places.offsets(partition)
        while some := list(islice(offsets, PART)):
            yield PlanPart(
                plan_id=plan_id, number=number, partition=partition, offsets=packed(some)
            )
            number += 1


def _numbers(choice: Choice, price: _Price) -> dict[str, Any]:
    return {
        "matching": choice.matching,
        "will_be_replayed": len(choice.places),
        "cannot_succeed_unchanged": price.unhelped,
        "refused_again": dict(choice.refused.most_common()),
        "left_out": {state.value: count for state, count in sorted(choice.by_state.items())},
        "over_limit": choice.over_limit,
        "older_of_the_same_intent": choice.older,
        "beyond_limit": choice.beyond_limit,
        "input_tokens": price.tokens,
        "expected_usd": format_usd(price.expected_usd),
        "without_expected": price.without_expected,
        "most_usd": format_usd(price.most_usd),
        "without_most": price.without_most,
    }


def _cause(cause: Cause, now: datetime) -> dict[str, Any]:
    """Give of a cause what a plan is decided by."""
    wanted = (
        "count", "reason", "failure", "provider", "model", "type", "message", "trend",
        "spent_usd", "can_succeed", "advice",
    )  # fmt: skip
    document = cause.document(now)
    return {name: document[name] for name in wanted}
