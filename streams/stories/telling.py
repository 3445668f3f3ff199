"""The sentence before the waterfall: what became of it, after how long, for how much, and why."""

from streams.stories.parts import Call
from streams.stories.story import Span, SpanKind, Status, Story
from streams.stories.words import duration, failures, money, times

__all__ = ["headline"]


def headline(story: Story) -> str:
    """Tell a story in one sentence."""
    match story.status:
        case Status.COMPLETED:
            begin = _completed(story)
        case Status.FAILED:
            begin = _failed(story)
        case Status.DEFERRED:
            begin = _deferred(story)
        case Status.WAITING:
            begin = _waiting(story)
        case Status.LOST:
            begin = _lost(story)
        case _:
            begin = _running(story)
    causes = _causes(story)
    return begin + (f": {'; '.join(causes)}" if causes else "")


def _completed(story: Story) -> str:
    ending = story.ending
    at = f" at {ending.provider}" if ending is not None and ending.provider else ""
    if story.cached:
        return f"Completed after {_total(story)} from the cache, without a call"
    return f"Completed after {_total(story)} for {_cost(story)}{at}"


def _failed(story: Story) -> str:
    ending = story.ending
    reason = ending.reason if ending is not None else ""
    code = f", {ending.error_code}" if ending is not None and ending.error_code else ""
    return f"Ended as a dead letter ({reason}{code}) after {_total(story)} for {_cost(story)}"


def _deferred(story: Story) -> str:
    until = "until later"
    if story.due_at is not None:
        left = story.due_at - story.now
        until = f"until {story.due_at:%H:%M:%S} UTC"
        until += f", in {duration(left)}" if left.total_seconds() > 0 else ", which is now"
    return f"Deferred {until}; {_cost(story)} so far"


def _waiting(story: Story) -> str:
    again = "Replayed, and waits" if story.turns.replays else "Waits"
    since = max((part.since for part in story.record.waiting), default=None)
    long = "" if since is None else f" for {duration(story.now - since)}"
    place = next((f" in {part.topic}" for part in reversed(story.record.waiting)), "")
    return f"{again}{long}{place}; no worker has begun it"


def _running(story: Story) -> str:
    calls = [span for span in story.spans if span.kind is SpanKind.CALL]
    going = [span for span in calls if span.end is None]
    begin = f"Running, {_total(story)} so far"
    if going:
        last = going[-1]
        return (
            f"{begin}; call {len(calls)} is at {last.label} for {duration(story.now - last.begin)}"
        )
    return f"{begin}, between two calls or before its commit; {_cost(story)} so far"


def _lost(story: Story) -> str:
    call = story.record.calls[-1]
    return (
        f"Not ended, {_total(story)} so far; nothing was heard of the call to {call.provider} that "
        f"began {call.started_at:%H:%M:%S} UTC; another worker begins it anew"
    )


def _causes(story: Story) -> list[str]:
    """Say what went wrong on the way, and what took long."""
    by_id = {span.call.attempt_id: span for span in story.spans if span.call is not None}
    lost = [call for call in story.record.calls if _state(by_id, call) == "orphaned"]
    failed = [call for call in story.record.calls if _state(by_id, call) == "failed"]
    causes = failures(failed)
    if lost and story.status is not Status.LOST:
        named = ", ".join(dict.fromkeys(call.provider for call in lost))
        which = "a worker" if len(lost) == 1 else f"workers, {times(len(lost))},"
        causes.append(f"{which} died during a call to {named}")
    put_off = [span for span in story.spans if span.kind is SpanKind.DEFERRAL and span.end]
    if put_off:
        whole = duration(story.spent_on(SpanKind.DEFERRAL))
        causes.append(f"put off {times(len(put_off))}, {whole} in all, as {put_off[-1].because}")
    elif story.status is Status.DEFERRED and not failed:
        reasons = [span for span in story.spans if span.kind is SpanKind.DEFERRAL]
        causes += [span.because for span in reasons[-1:]]
    if story.turns.replays:
        causes.append(f"replayed {times(story.turns.replays)}{_reasons(story)}")
    winner = next((call for call in story.record.calls if call.hedge and call.used), None)
    if winner is not None:
        causes.append(f"{winner.provider} was asked beside the first and was quicker")
    return causes


def _state(by_id: dict[str, Span], call: Call) -> str:
    span = by_id.get(call.attempt_id)
    return span.state if span else ""


def _reasons(story: Story) -> str:
    ended = [one for one in story.record.endings if not one.completed and one is not story.ending]
    if not ended:
        return ""
    reasons = ", ".join(dict.fromkeys(one.reason for one in ended))
    return f" after a dead letter ({reasons})"


def _total(story: Story) -> str:
    return "an unknown time" if story.total is None else duration(story.total)


def _cost(story: Story) -> str:
    """Say what it cost; what nobody knows is said to be so."""
    if story.bill.unpriced:
        known = f"{money(story.bill.usd)} and " if story.bill.usd else ""
        return (
            f"{known}an unknown price ({story.bill.unpriced} call{'s' * (story.bill.unpriced > 1)})"
        )
    more = f" (up to {money(story.bill.uncertain_usd)} more)" if story.bill.uncertain_usd else ""
    return f"{money(story.bill.usd)}{more}"
