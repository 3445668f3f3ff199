"""How fast a provider may be called: requests and tokens a minute, calls in flight; pure.

Pacing is the generic cell rate algorithm (ITU-T I.371): each call moves the time of the next one.
Nothing is shared between workers: each takes its share of the limits (lanes owned / lanes), and a
burst of one call, so that all workers together stay within the limit in any minute. A 429 lowers
the pace at once, answers raise it again slowly (AIMD).
"""

from dataclasses import dataclass
from math import inf

__all__ = ["Limiter", "ProviderLimits"]

#: Of a limit of requests, this much is used: with bursts of one call, no minute goes over it.
USED_SHARE = 0.97
#: After a 429 the pace is multiplied by this, at most once a second; each answer adds a little.
DECREASE = 0.7
INCREASE = 0.01
LEAST_PACE = 0.05
CUT_EVERY_S = 1.0
#: What 429s taught about calls in flight is forgotten after this long without one.
FORGET_S = 60.0
#: With so many places in flight one is kept for urgent calls.
LEAST_SHARED = 2


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """What a provider allows, over all workers; None = no limit is known."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    in_flight: int | None = None


class Limiter:
    """One provider's pace at one worker; every `now` is seconds on one monotonic clock."""

    def __init__(self, limits: ProviderLimits) -> None:
        """Begin at full pace with the whole limit."""
        self._limits = limits
        self._share = 1.0
        self._pace = 1.0
        self._cut_at = -inf
        self._next_request = 0.0
        self._next_token = 0.0
        #: Calls in flight that 429s allow; None until the first.
        self._learnt: float | None = None
        self.in_flight = 0

    def set_share(self, share: float) -> None:
        """Take this part of the limits from now on, above 0 and at most 1."""
        self._share = share

    @property
    def pace(self) -> float:
        """The part of the limits that is used: 1 until a 429 has taught less."""
        return self._pace

    @property
    def capacity(self) -> float:
        """How many calls may be in flight."""
        return min(self._configured, self._taught)

    def full(self, *, urgent: bool) -> bool:
        """Whether a further call would be one too many; urgent ones have a place of their own.

        Of a configured limit the last place is theirs; what 429s taught they may exceed by one.
        """
        if urgent:
            return self.in_flight + 1 > min(self._configured, self._taught + 1)
        kept = 1 if self._configured >= LEAST_SHARED else 0
        return self.in_flight + 1 > min(self._configured - kept, self._taught)

    def wait_s(self, now: float) -> float:
        """Seconds until requests and tokens allow the next call."""
        return max(0.0, self._next_request - now, self._next_token - now)

    def calls_within(self, seconds: float) -> float:
        """How many calls the limit of requests allows in a time."""
        per_minute = self._limits.requests_per_minute
        return inf if per_minute is None else per_minute * self._scale * seconds / 60

    def reserve(self, now: float, tokens: int) -> float:
        """Take the next turn for a call of about so many tokens; gives the seconds until it."""
        wait = self.wait_s(now)
        requests, token_limit = self._limits.requests_per_minute, self._limits.tokens_per_minute
        if requests is not None:
            step = 60 / (requests * self._scale * USED_SHARE)
            self._next_request = max(now, self._next_request) + step
        if token_limit is not None:
            step = 60 * tokens / (token_limit * self._scale)
            self._next_token = max(now, self._next_token) + step
        self.in_flight += 1
        return wait

    def settle(self, reserved: int, used: int) -> None:
        """Correct a reservation once the call's tokens are known."""
        self.in_flight -= 1
        if self._limits.tokens_per_minute is not None:
            self._next_token += (
                60 * (used - reserved) / (self._limits.tokens_per_minute * self._scale)
            )

    def throttled(self, now: float) -> None:
        """Note a 429: lower the pace, and allow fewer calls in flight, at most once a second."""
        if now - self._cut_at < CUT_EVERY_S:
            return
        self._cut_at = now
        self._pace = max(LEAST_PACE, self._pace * DECREASE)
        flying = self.in_flight + 1  # the refused call is no longer counted, and was in flight too
        self._learnt = max(1.0, min(flying, self._learnt or flying) * DECREASE)

    def answered(self, now: float) -> None:
        """Note an answer: go a little faster, and freely after a minute without a 429."""
        self._pace = min(1.0, self._pace + INCREASE)
        if self._learnt is not None:
            quiet = now - self._cut_at > FORGET_S
            self._learnt = None if quiet else self._learnt + 1 / self._learnt

    @property
    def _configured(self) -> float:
        """Calls in flight that the configured limit allows this worker."""
        allowed = self._limits.in_flight
        return inf if allowed is None else max(1.0, allowed * self._share)

    @property
    def _taught(self) -> float:
        """Calls in flight that 429s have taught."""
        return inf if self._learnt is None else max(1.0, self._learnt)

    @property
    def _scale(self) -> float:
        return self._share * self._pace
