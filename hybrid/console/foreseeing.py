"""What would happen to a new intent now, at each worker, in words; the policy says it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import assert_never

from agents.deciding.decisions import Decision, Defer, Fallback, GiveUp, Go, Retry, Step, Wait
from agents.deciding.foresight import Foreseen, foresee
from agents.deciding.routes import Sketch
from agents.executing.prompts import load_prompts
from hybrid.standing import Provider, Standing, Worker
from schemas.operations import HoldRecord
from schemas.settings import Settings
from schemas.vocabulary import Held, Priority
from streams.messages.orders import Orders
from streams.stories.words import duration
from streams.triage.ordered import named
from streams.worker.assembly import policy_of, router_over, types_of

__all__ = ["Question", "Said", "asked"]


@dataclass(frozen=True, slots=True)
class Question:
    """The intent that is asked about."""

    type: str
    tenant: str = "default"
    priority: Priority = Priority.MEDIUM
    force_provider: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """One answer, and at how many workers it is the same."""

    workers: int
    sentence: str
    #: How the first call might end, and what would follow.
    after: tuple[tuple[str, str], ...]


def asked(
    settings: Settings, standing: Standing, question: Question, *, now_ms: int
) -> tuple[list[str], list[Said]]:
    """Answer for each worker; gives what holds it back or ends it before, and the answers.

    Budgets, the cache, and limits of the intent's own (deadline, money) are not asked.
    """
    notes = list(_before(settings, standing.paused or (), question))
    found: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
    for worker in standing.workers:
        route = _route(settings, worker, question)
        if not route:
            found["no provider of it can serve this: it ends as a dead letter", ()] += 1
            continue
        views = {one.name: one for one in worker.providers}
        told = foresee(
            policy_of(settings),
            route,
            waits_s=[_wait_s(views[name]) for name in route],
            out=[not views[name].available for name in route],
            now_ms=now_ms,
        )
        found[_sentence(told), tuple(_after(told))] += 1
    return notes, [Said(count, words, after) for (words, after), count in found.most_common()]


def _wait_s(seen: Provider) -> float:
    """Give a worker's word, or, of an older worker, that what is out is out for long."""
    if seen.wait_s is not None:
        return seen.wait_s
    return 0.0 if seen.available else float("inf")


def _route(settings: Settings, worker: Worker, question: Question) -> tuple[str, ...]:
    specs = {one.name: one.kind for one in settings.provider_specs}
    kinds: Mapping[str, str] = {
        one.name: str(specs.get(one.name, one.name)) for one in worker.providers
    }
    sketch = Sketch(
        type=question.type, priority=question.priority, force_provider=question.force_provider
    )
    return router_over(settings, kinds).route(sketch, identity="")


def _folder(settings: Settings) -> Path | None:
    return Path(settings.hybrid_prompts_dir) if settings.hybrid_prompts_dir else None


def _before(settings: Settings, paused: Iterable[HoldRecord], question: Question) -> Iterator[str]:
    """Say what is asked before any provider is: its type, and what operators have paused."""
    known = types_of(settings, load_prompts(_folder(settings)))
    if known is not None and question.type not in known:
        yield (
            f"no template and no route is for type {question.type}: it ends as a dead letter, "
            "invalid_intent"
        )
    orders = Orders()
    for one in paused:
        orders.take(one)
    if orders.holds(question.tenant, question.type):
        its = {(Held.ALL, ""), (Held.TENANT, question.tenant), (Held.TYPE, question.type)}
        held = [named(one) for one in orders if (one.what, one.name) in its]
        yield f"it waits until it is resumed: {', '.join(held)} is paused"


def _sentence(told: Foreseen) -> str:
    """Say the steps to the first call, or to what comes in its place."""
    words = [_step(told.route, position, step) for position, step in told.steps]
    return ", ".join(words)


def _step(route: tuple[str, ...], position: int, step: Step) -> str:
    here = route[position]
    match step:
        case Go():
            return f"{here} is called at once"
        case Wait(delay_s=delay):
            return f"it waits {_long(delay)} for its turn at {here}"
        case Fallback(position=later):
            return f"{here} cannot be called, so it goes to {route[later]}"
        case Defer(delay_s=delay):
            return f"{here} cannot be called: it waits, at least {_long(delay)}, and is not lost"
        case GiveUp(reason=reason):
            return f"it ends as a dead letter, {reason.value}"
        case _:
            assert_never(step)


def _after(told: Foreseen) -> Iterator[tuple[str, str]]:
    if not isinstance(told.steps[-1][1], Go | Wait):
        return
    for kind, decision in told.after:
        yield kind.value.replace("_", " "), _follows(told.route, decision)


def _follows(route: tuple[str, ...], decision: Decision) -> str:
    match decision:
        case Retry(delay_s=delay):
            return f"another call after {_long(delay)}" if delay else "another call at once"
        case Fallback(position=later):
            return f"on to {route[later]}"
        case Defer(delay_s=delay):
            return f"put off for {_long(delay)}"
        case GiveUp(reason=reason):
            return f"a dead letter, {reason.value}"
        case _:
            assert_never(decision)


def _long(delay_s: float) -> str:
    return duration(timedelta(seconds=delay_s))
