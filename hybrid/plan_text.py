"""A plan of replays, and a file of dead letters, in sentences; pure."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from schemas.base import format_time, format_usd
from schemas.operations import PlanRecord
from streams.stories.words import duration

if TYPE_CHECKING:
    from streams.triage.importing import Import

__all__ = ["lines_of", "lines_of_import"]

LEFT_OUT = {
    "waiting": "wait for a run that is to replay them",
    "replayed": "were replayed before and have no outcome yet: --again sends them once more",
    "resolved": "were replayed before and have a result",
    "came_back": "were replayed before and came back: their newer dead letters count",
    "dismissed": "are dismissed: `hybrid dlq reopen` takes that back",
}
#: So many causes and refusals are listed.
MOST = 8


def lines_of(plan: PlanRecord, *, rate: float | None = None) -> Iterator[str]:
    """Say what a plan holds and what it comes to; `rate`: letters a second, where that is known."""
    said = plan.summary
    yield f"{plan.count} dead letters will be replayed, of {said['matching']} that match"
    # Plans of before do not say it.
    for change in said.get("changes", []):
        yield f"  before that: {change}"
    if said.get("changes"):
        had = plan.count - said["changed"]
        yield f"  in {said['changed']} of them" + (f"; {had} are so already" if had else "")
    for cause in said["causes"][:MOST]:
        helped = "" if cause["can_succeed"] else "; a replay cannot succeed without a change"
        where = f" at {cause['provider']}" if cause["provider"] else ""
        yield (
            f"  {cause['count']}  {cause['reason']}: {cause['failure']}{where}: "
            f"{cause['message']}{helped}"
        )
    if len(said["causes"]) > MOST:
        yield f"  and {len(said['causes']) - MOST} causes more: `hybrid dlq causes`"
    yield from _left_out(said)
    if plan.count:
        yield from _money(plan, said)
        yield from _past(said)
        yield from _time(plan, said, rate)
        yield from _now(said)
        yield f"plan {plan.plan_id}, sha256 {plan.sha256[:12]}, valid until " + format_time(
            plan.expires_at
        )


def _left_out(said: dict[str, Any]) -> Iterator[str]:
    for state, count in said["left_out"].items():
        yield f"{count} {LEFT_OUT[state]}"
    for why, count in list(said["refused_again"].items())[:MOST]:
        code, _, sentence = why.partition(": ")
        if code == "content_gone":
            yield f"{count} cannot be replayed: {sentence}"
            continue
        yield f"{count} would be refused again by validation: {why}"
    if said["over_limit"]:
        yield f"{said['over_limit']} came back 3 times or more: --force replays them"
    if said["older_of_the_same_intent"]:
        yield f"{said['older_of_the_same_intent']} are older ones of intents that have a newer one"
    if said["beyond_limit"]:
        yield f"{said['beyond_limit']} are beyond --limit"


def _money(plan: PlanRecord, said: dict[str, Any]) -> Iterator[str]:
    expected, most = f"{said['expected_usd']} USD", f"{said['most_usd']} USD"
    if said["without_expected"]:
        count = said["without_expected"]
        expected = "not known" if count == plan.count else f"{expected} and {count} not known"
    if said["without_most"]:
        count = said["without_most"]
        most = "not known" if count == plan.count else f"{most} and {count} not known"
    yield f"about {said['input_tokens']} input tokens; expected cost {expected}"
    yield f"at most {most}, with one answered call each"
    for budget in said["budgets"]:
        reached = {
            "no": "",
            "at most": f": may be reached (then: {budget['then']})",
            "expected": f": will be reached (then: {budget['then']})",
        }[budget["reached"]]
        yield (
            f"budget of {budget['tenant']} per {budget['per']}: {budget['spent_usd']} of "
            f"{budget['limit_usd']} USD now, {budget['after_expected_usd']} expected, "
            f"{budget['after_most_usd']} at most{reached}"
        )


def _past(said: dict[str, Any]) -> Iterator[str]:
    """Say how well the newest runs were foretold; plans of before do not know it."""
    past = said.get("past")
    if past is None:
        return
    if not past["runs"]:
        yield "no run has ended yet whose cost could be held against what was expected"
        return
    shares = " to ".join(f"{past[name]:+.0%}" for name in ("least", "most"))
    runs = "run" if past["runs"] == 1 else f"{past['runs']} runs"
    yield f"the last {runs} cost {shares} beside what was expected"


def _time(plan: PlanRecord, said: dict[str, Any], rate: float | None) -> Iterator[str]:
    """Say how long it takes, at the limits that are configured and at the run's own pace."""
    for provider, one in said.get("takes", {}).items():
        if one["seconds"] is None:
            yield f"{provider} has no limit a minute that is configured: its 429s set the pace"
            continue
        took = duration(timedelta(seconds=one["seconds"]))
        yield (
            f"at least {took} at {provider}'s limit of {one['by']} a minute, with nothing else to "
            "do there"
        )
    if rate is not None:
        yield f"at least {duration(timedelta(seconds=plan.count / rate))} at --rate {rate:g}"


def _now(said: dict[str, Any]) -> Iterator[str]:
    for provider, seen in said["providers_out"].items():
        yield f"{provider}'s breaker: {seen['breaker']}, since {seen['since']}"
    if said["providers_out"]:
        yield (
            f"{said['would_wait']} would wait, none burn; {said['would_go_to_the_next']} would go "
            "to their next provider"
        )


def lines_of_import(found: "Import") -> Iterator[str]:
    """Say what is published, what is not, and what it costs."""
    yield f"{found.count} of {found.lines} lines will be published again"
    if found.changed:
        yield f"{found.changed} with another intent than they had"
    for state, count in sorted(found.choice.by_state.items()):
        yield f"{count} {LEFT_OUT[state.value]}"
    if found.repeated:
        yield f"{found.repeated} are there more than once: the first one counts"
    if found.choice.older:
        yield f"{found.choice.older} are older ones of intents that have a newer one"
    if found.choice.over_limit:
        yield f"{found.choice.over_limit} came back 3 times or more: --force publishes them"
    if found.forgotten:
        yield (
            f"{found.forgotten} are so old that it is not known any more whether they were "
            "replayed: --again publishes them"
        )
    if not found.count:
        return
    expected, most = format_usd(found.expected_usd), format_usd(found.most_usd)
    yield f"about {found.input_tokens} input tokens; expected cost {expected} USD" + (
        f", and {found.without_expected} not known" if found.without_expected else ""
    )
    yield f"at most {most} USD, with one answered call each" + (
        f", and {found.without_most} not known" if found.without_most else ""
    )
