"""How long a provider asks for no further call, read from its rate-limit headers; pure."""

import re
from collections.abc import Mapping

__all__ = ["rest_asked_for"]

#: A reset further away than this is a mistake of the sender's; it is cut.
MOST_REST_S = 60.0
DURATION = re.compile(
    r"(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m(?!s))?(?:(?P<s>\d+(?:\.\d+)?)s)?(?:(?P<ms>\d+)ms)?"
)


def rest_asked_for(headers: Mapping[str, str]) -> float:
    """Read OpenAI's `x-ratelimit-*` headers: seconds until the next call makes sense; 0 = now.

    Only what makes sense counts: a limit above 0, nothing left of it, and a time at which it is
    there again. Azure was seen to answer -1 and 0 for all of them.
    """
    waits = [0.0]
    for what in ("requests", "tokens"):
        limit = _whole(headers.get(f"x-ratelimit-limit-{what}"))
        left = _whole(headers.get(f"x-ratelimit-remaining-{what}"))
        if limit is not None and limit > 0 and left == 0:
            waits.append(_duration_s(headers.get(f"x-ratelimit-reset-{what}") or ""))
    return min(max(waits), MOST_REST_S)


def _whole(raw: str | None) -> int | None:
    return int(raw) if raw is not None and re.fullmatch(r"-?\d{1,12}", raw) else None


def _duration_s(raw: str) -> float:
    """Read a duration such as `120ms`, `6s`, `1m30s`; 0 for any other text."""
    found = DURATION.fullmatch(raw.strip())
    if found is None:
        return 0.0
    parts = {unit: float(number) for unit, number in found.groupdict(default="0").items()}
    return parts["h"] * 3600 + parts["m"] * 60 + parts["s"] + parts["ms"] / 1000
