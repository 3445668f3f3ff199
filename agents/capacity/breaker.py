"""Whether a provider may be called: its breaker, and the rest it asked for; pure.

    closed ── half of the last 20 calls failed ────────► open ── 30 s ──► half-open: one probe
      ▲                                                  ▲             at a time; two good ones
      └────────────────────── close it ─────────────────────────────── a failed one opens it
      └── key, quota or deployment refused ──► down: the same, after a single answer;
          a refusal without a reason: after those of several intents, with no answer between

Only calls of the last minute count, and of these the newest 20 (docs/adr/0007). A 429 is no
failure: it makes the provider rest for as long as it asked.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum

from agents.deciding.failures import SILENCE
from schemas.vocabulary import FailureKind

__all__ = ["BreakerPolicy", "BreakerState", "CircuitBreaker"]

#: One answer is enough: every other call would get the same.
REFUSALS = frozenset({FailureKind.AUTH, FailureKind.QUOTA, FailureKind.DEPLOYMENT_NOT_FOUND})
#: A refusal that does not say whether key, model or content is to blame.
SUSPECT = FailureKind.REFUSED
#: While a probe is out, others look again after this long.
PROBE_OUT_S = 0.5


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """The numbers of the breaker; times in seconds."""

    calls: int = 20
    failed_share: float = 0.5
    window_s: float = 60.0
    open_s: float = 30.0
    probes: int = 2
    #: Intents that must be refused without a reason until it is the provider's fault.
    refused_intents: int = 3


class BreakerState(Enum):
    """Where a provider stands."""

    CLOSED = "closed"  # called
    OPEN = "open"  # its calls fail: not called
    DOWN = "down"  # it refuses all calls (key, quota, deployment): not called
    HALF_OPEN = "half_open"  # asked again, one call at a time


class CircuitBreaker:
    """One provider as one worker sees it; every `now` is seconds on one monotonic clock."""

    def __init__(self, policy: BreakerPolicy) -> None:
        """Begin closed: the provider is called."""
        self._policy = policy
        self._recent: deque[tuple[float, bool]] = deque()
        self._failed = 0
        self._refused: set[str] = set()
        self._rests_until = 0.0
        self._opens_at = 0.0  # when an open breaker lets a probe through
        self._probes_out = 0
        self._probes_good = 0
        self.state = BreakerState.CLOSED
        self.cause: FailureKind | None = None

    @property
    def available(self) -> bool:
        """Whether it is called without probing."""
        return self.state is BreakerState.CLOSED

    def wait_s(self, now: float) -> float:
        """Seconds until a call may start, as far as is known; 0 = now."""
        if self.state is BreakerState.CLOSED:
            return max(0.0, self._rests_until - now)
        if now < self._opens_at:
            return self._opens_at - now
        return PROBE_OUT_S if self._probes_out else 0.0

    def begin(self, now: float) -> bool:
        """Note a call that starts; gives whether it is a probe."""
        if self.state is BreakerState.CLOSED or now < self._opens_at:
            return False
        self.state = BreakerState.HALF_OPEN
        self._probes_out += 1
        return True

    def rest(self, now: float, seconds: float) -> None:
        """Make no call for so many seconds, as the provider asked in an answer."""
        self._rests_until = max(self._rests_until, now + seconds)

    def cancel(self, *, probe: bool) -> None:
        """Note a call that ended without telling anything."""
        self._probes_out -= probe

    def end(
        self,
        now: float,
        kind: FailureKind | None,
        *,
        probe: bool,
        retry_after_s: float | None,
        evidence: str = "",
    ) -> None:
        """Note how a call ended; `kind` None is an answer that was asked for.

        `evidence` says whose the call was: the same word again proves no more.
        """
        self._probes_out -= probe
        if kind is None:
            self._refused.clear()
        if kind in REFUSALS or (kind is SUSPECT and self._is_providers(evidence)):
            if self.state is BreakerState.CLOSED or probe:
                self._open(now, BreakerState.DOWN, kind)
            return
        if kind is FailureKind.RATE_LIMIT:
            self.rest(now, retry_after_s or 0.0)
            if probe:  # it is there, and busy
                self._opens_at = max(now, self._rests_until)
            return
        if probe:
            self._probed(now, kind)
        elif self.state is BreakerState.CLOSED:
            self._count(now, kind)

    def _is_providers(self, evidence: str) -> bool:
        """Say whether enough different calls were refused for it to be the provider's fault."""
        if len(self._refused) < self._policy.refused_intents:
            self._refused.add(evidence)
        return len(self._refused) >= self._policy.refused_intents

    def _probed(self, now: float, kind: FailureKind | None) -> None:
        if kind in SILENCE:
            self._open(now, BreakerState.OPEN, kind)
            return
        self._probes_good += 1
        if self._probes_good >= self._policy.probes:
            self._recent.clear()
            self._failed = 0
            self.state, self.cause = BreakerState.CLOSED, None

    def _count(self, now: float, kind: FailureKind | None) -> None:
        failed = kind in SILENCE
        self._recent.append((now, failed))
        self._failed += failed
        while (
            len(self._recent) > self._policy.calls
            or self._recent[0][0] <= now - self._policy.window_s
        ):
            self._failed -= self._recent.popleft()[1]
        enough = len(self._recent) >= self._policy.calls
        if failed and enough and self._failed >= len(self._recent) * self._policy.failed_share:
            self._open(now, BreakerState.OPEN, kind)

    def _open(self, now: float, state: BreakerState, kind: FailureKind | None) -> None:
        self.state, self.cause = state, kind
        self._opens_at = now + self._policy.open_s
        self._probes_good = 0
