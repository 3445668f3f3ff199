"""What stands in a record, as people say it: outcomes, reasons, durations, money; pure."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal

from streams.stories.parts import Call

__all__ = ["deferral_reason", "duration", "failure", "failures", "money", "times"]

#: How a call ended, said of its provider.
ENDED = {
    "rate_limit": "asked for fewer calls",
    "timeout": "did not answer in time",
    "server_error": "failed",
    "connection": "could not be reached",
    "auth": "refused the key, the quota or the model",
    "validation": "found the request wrong",
    "content_filter": "refused the content",
    "bad_output": "gave an answer that is not what was asked for",
    "cancelled": "was cancelled",
    "unknown": "failed",
}
#: Why an intent was put off.
PUT_OFF = {
    "not_before": "its not_before has not come",
    "budget": "its tenant's budget is spent",
    "unavailable": "no provider could be called",
    "rate_limit": "every provider asked for fewer calls",
    "timeout": "no provider answered in time",
    "connection": "no provider could be reached",
    "server_error": "every provider failed",
    "quota": "a provider's quota is used up",
    "auth": "a provider refused its key",
    "refused": "a provider refused the call",
    "deployment_not_found": "a provider does not know the deployment",
}
COUNTS = {1: "once", 2: "twice", 3: "three times", 4: "four times", 5: "five times"}
MINUTE, HOUR, DAY = 60, 3600, 86_400
#: Below this many seconds tenths are told.
WHOLE_S = 20


def duration(span: timedelta) -> str:
    """Say how long: `85 ms`, `1.4 s`, `1 min 42 s`, `2 h 5 min`, `3 d 4 h`."""
    seconds = max(0.0, span.total_seconds())
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < WHOLE_S:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    for unit, name, part, part_name in (
        (DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min"), (MINUTE, "min", 1, "s"),
    ):  # fmt: skip
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name}" + (f" {rest} {part_name}" if rest else "")
    return f"{whole} s"


def money(usd: Decimal) -> str:
    """Say dollars with two digits that count, whatever their size: `$0.0031`, `$12.50`."""
    if not usd:
        return "$0"
    if usd >= 1:
        return f"${usd:,.2f}"
    digits = 1 - usd.adjusted()  # two that are not leading zeros
    return f"${round(usd, digits):f}".rstrip("0")


def times(count: int) -> str:
    """Say how often."""
    return COUNTS.get(count, f"{count} times")


def failure(call: Call) -> str:
    """Say how a call failed: `answered 429`, `did not answer in time`."""
    if call.outcome == "cancelled" and call.error_code == "hedge_lost":
        return "was slower than its rival"
    if call.http_status >= 300:  # noqa: PLR2004 - what is below is an answer
        code = call.error_code
        shown = f" ({code})" if code and code != str(call.http_status) else ""
        return f"answered {call.http_status}{shown}"
    return ENDED.get(call.outcome, call.outcome)


def failures(calls: Iterable[Call]) -> list[str]:
    """Count failures of one kind: `openai answered 429 three times`, in the order they began."""
    counted: Counter[tuple[str, str]] = Counter()
    for call in calls:
        what = f"answered {call.http_status}" if call.http_status >= 300 else failure(call)  # noqa: PLR2004
        counted[call.provider, what] += 1
    return [
        f"{provider} {what}" + (f" {times(count)}" if count > 1 else "")
        for (provider, what), count in counted.items()
    ]


def deferral_reason(reason: str) -> str:
    """Say why an intent was put off."""
    return PUT_OFF.get(reason, reason.replace("_", " ") or "its time had not come")
