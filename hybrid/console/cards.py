"""What needs somebody, as at most five cards, the dearest first; pure."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlencode

from hybrid.standing import Need, Standing, needs
from schemas.vocabulary import AlertName
from streams.alerts.standing import AlertStanding
from streams.bill.budgets import BudgetLevel
from streams.stories.words import money
from streams.triage.causes import Cause
from streams.triage.surroundings import BELIEVED, OUT

__all__ = ["MOST_CARDS", "Card", "cards_of"]

MOST_CARDS = 5
#: Alerts that say what other cards say better.
SAID_OTHERWISE = frozenset({
    AlertName.DEAD_LETTER_RATE.value, AlertName.BUDGET_SOFT.value, AlertName.BUDGET_HARD.value,
    AlertName.MOSTLY_DEAD_LETTERS.value,
})  # fmt: skip
ITSELF = {
    "workers": "nothing is lost: intents wait on Kafka until a worker is ready",
    "provider": "work goes on at the next provider, or waits; this one is asked again by itself",
    "waiting": "they are worked off in their order; more workers are quicker",
    "recorder": "results go on; costs and traces are behind until it has caught up",
}
WHERE = {
    "workers": ("What the doctor says", "/doctor"), "provider": ("How it is", "/providers"),
    "waiting": ("What waits", "/"), "recorder": ("What the doctor says", "/doctor"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Card:
    """One thing: the cause, since when, how much, what happens by itself, and one button."""

    title: str
    sentence: str
    since: datetime | None
    itself: str
    button: str
    href: str
    command: str
    #: Dollars at stake, and intents that wait for it: by these cards are ordered.
    usd: Decimal = Decimal(0)
    waiting: int = 0
    is_bad: bool = True
    #: Whether no work goes on at all.
    stops: bool = False


def cards_of(
    *,
    now: datetime,
    standing: Standing | None,
    alerts: Sequence[AlertStanding],
    causes: Sequence[Cause],
    budgets: Sequence[BudgetLevel],
) -> list[Card]:
    """Give what needs somebody: what stops all work first, then by money and by what waits."""
    on = [one for one in alerts if one.until is None and now - one.since < BELIEVED]
    found = [
        *_of_needs(standing, on),
        *_of_alerts(on),
        *_of_causes(causes),
        *_of_budgets(budgets),
    ]
    found.sort(key=lambda one: (not one.stops, not one.is_bad, -one.usd, -one.waiting))
    return found[:MOST_CARDS]


def _of_needs(standing: Standing | None, on: Sequence[AlertStanding]) -> Iterable[Card]:
    if standing is None:
        return
    waits = sum(standing.line.by_topic.values()) if standing.line else 0
    since = {one.alert.subject: one.since for one in on if one.alert.name in OUT}
    for need in needs(standing):
        yield _of_need(need, waits, since.get(need.subject, need.since))


def _of_need(need: Need, waits: int, since: datetime | None) -> Card:
    button, href = WHERE[need.about]
    return Card(
        title={
            "workers": "No work is done", "provider": f"Provider {need.subject}",
            "waiting": "Work waits for long", "recorder": "The record is behind",
        }[need.about],
        sentence=need.sentence,
        since=since,
        itself=ITSELF[need.about],
        button=button,
        href=href,
        command="hybrid doctor" if need.about in {"workers", "recorder"} else "hybrid status",
        waiting=waits,
        stops=need.about == "workers",
    )  # fmt: skip


def _of_alerts(on: Sequence[AlertStanding]) -> Iterable[Card]:
    """Give the alerts that nothing else here says; of a provider, how it is now says it."""
    for one in on:
        alert = one.alert
        if alert.name in OUT or alert.name in SAID_OTHERWISE:
            continue
        yield Card(
            title=alert.name.replace("_", " ").capitalize(),
            sentence=alert.message,
            since=one.since,
            itself="the alert is over by itself when its cause is",
            button="All alerts",
            href="/alerts",
            command="hybrid costs reliability --since 1h",
            is_bad=alert.severity == "critical",
        )


def _of_causes(causes: Sequence[Cause]) -> Iterable[Card]:
    """Give the causes of open dead letters that a replay can put right, and those that rise."""
    for cause in causes:
        kind = cause.kind
        words = cause.words()
        options = "".join(
            f" --{name.replace('_', '-')} {shlex.quote(value)}" for name, value in words.items()
        )
        where = f" at {kind.provider}" if kind.provider else ""
        helped = "can succeed when they are replayed" if cause.retriable else cause.advice
        yield Card(
            title=f"{cause.count:,} dead letters: {kind.failure or kind.reason}{where}",
            sentence=f"{kind.message}: {helped}" if helped else kind.message,
            since=cause.first_at,
            itself="nothing: they wait for somebody, and are kept for 30 days",
            button="Look at them, and replay" if cause.retriable else "Look at them",
            href=f"/letters?{urlencode(words)}",
            command=f"hybrid dlq plan{options}" if cause.retriable else "hybrid dlq causes",
            usd=cause.spent_usd,
            waiting=cause.count,
        )


def _of_budgets(budgets: Sequence[BudgetLevel]) -> Iterable[Card]:
    for one in budgets:
        if one.state == "open":
            continue
        spent = one.state == "spent"
        yield Card(
            title=f"Budget of {one.tenant} per {one.per}",
            sentence=f"{money(one.spent_usd)} of {money(one.limit_usd)} is spent",
            since=None,
            itself=(
                f"its intents: {one.then}, until the next {one.per} begins"
                if spent
                else "nothing is held back yet"
            ),
            button="Its dead letters",
            href=f"/letters?{urlencode({'tenant': one.tenant})}",
            command="hybrid costs budgets",
            usd=one.spent_usd,
            is_bad=spent,
        )
