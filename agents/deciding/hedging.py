"""When a second call at another provider is worth its money; pure.

A call that takes longer than nearly all others of its provider gets a rival (Dean and Barroso, The
Tail at Scale, 2013). The delay is the provider's own measured p95, or two medians where more than
a twentieth of its calls are slow, which would hide them from their own p95.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from statistics import median_low

from schemas.intent import WorkflowIntent

__all__ = ["HedgePolicy", "Hedger"]

#: Latencies kept for each provider, and the fewest that say anything.
KEPT = 200
FEWEST = 20
PERCENTILE = 0.95
MEDIANS = 2.0
#: Calls over which the share of hedges is counted.
SHARE_WINDOW = 1_000
HOUR_S = 3_600.0


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    """Who is hedged, and at most how much."""

    #: Intent types and priorities that are hedged; empty = no intent is.
    who: frozenset[str] = frozenset()
    #: Of the newest calls, at most this share may be hedges.
    most_share: float = 0.05
    #: Dollars an hour that hedges of one worker may cost, by their upper bounds.
    most_usd_an_hour: Decimal = Decimal(1)

    def wants(self, intent: WorkflowIntent) -> bool:
        """Whether an intent is to be hedged."""
        return bool(self.who & {intent.type, intent.priority.value})


class Hedger:
    """What calls took lately and what hedges cost; every `now` is seconds on a monotonic clock."""

    def __init__(self, policy: HedgePolicy, providers: Collection[str]) -> None:
        """Begin without experience: nothing is hedged until there is some."""
        self._policy = policy
        self._took: dict[str, deque[float]] = {name: deque(maxlen=KEPT) for name in providers}
        self._hedged: deque[bool] = deque(maxlen=SHARE_WINDOW)
        self._spent: deque[tuple[float, Decimal]] = deque()

    def note(self, provider: str, seconds: float) -> None:
        """Note how long a call took that was answered."""
        self._took[provider].append(seconds)

    def delay_s(self, intent: WorkflowIntent, provider: str) -> float | None:
        """Give the time after which a call should get a rival; None = never."""
        took = self._took[provider]
        if not self._policy.wants(intent) or len(took) < FEWEST:
            return None
        ordered = sorted(took)
        return min(ordered[int(PERCENTILE * (len(ordered) - 1))], MEDIANS * median_low(ordered))

    def count_call(self) -> None:
        """Note a call that is no hedge."""
        self._hedged.append(False)

    def allow(self, now: float, bound_usd: Decimal | None) -> bool:
        """Take the right to one hedge that costs at most so much; False = the caps are reached.

        What nobody can bound (None) holds no limit, so there is no hedge.
        """
        if bound_usd is None:
            return False
        while self._spent and self._spent[0][0] <= now - HOUR_S:
            self._spent.popleft()
        spent = sum((usd for _, usd in self._spent), Decimal(0))
        share = (sum(self._hedged) + 1) / max(len(self._hedged), FEWEST)
        if share > self._policy.most_share or spent + bound_usd > self._policy.most_usd_an_hour:
            return False
        self._spent.append((now, bound_usd))
        self._hedged.append(True)
        return True
