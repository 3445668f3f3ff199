"""What each provider can take now: its health and its pace, as one worker sees them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from agents.capacity.breaker import BreakerPolicy, BreakerState, CircuitBreaker
from agents.capacity.limiter import Limiter, ProviderLimits
from agents.clock import Clock
from agents.deciding.failures import SILENCE, Failure
from schemas.vocabulary import FailureKind

__all__ = ["BreakerChange", "Capacity", "Turn"]

#: A provider with all its calls in flight is looked at again after this long.
FULL_WAIT_S = 0.1
#: A provider that an operator has paused is not to be called for now, as far as anybody knows.
PAUSED_WAIT_S = 3600.0
#: Jobs for a provider beyond what it can take soon wait in the dispatcher, not in a slot.
SOON_S = 5.0


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """A provider's breaker has moved."""

    provider: str
    before: BreakerState
    after: BreakerState
    cause: FailureKind | None


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to one call; given back by `end` or `cancel`."""

    provider: str
    tokens: int
    probe: bool


class Capacity:
    """What all providers can take, for one worker: asked before each job and before each call."""

    def __init__(
        self,
        limits: Mapping[str, ProviderLimits],
        policy: BreakerPolicy,
        *,
        clock: Clock,
        on_change: Callable[[BreakerChange], None] = lambda _change: None,
    ) -> None:
        """Begin with every provider healthy and whole limits; `on_change` hears of breakers."""
        self._health = {name: CircuitBreaker(policy) for name in limits}
        self._limiters = {name: Limiter(limit) for name, limit in limits.items()}
        #: provider → when it last answered anybody, in milliseconds since 1970
        self._answered: dict[str, int] = {}
        self._paused: frozenset[str] = frozenset()
        self._clock = clock
        self._on_change = on_change

    def set_share(self, share: float) -> None:
        """Take this part of all limits from now on (lanes owned / lanes)."""
        for limiter in self._limiters.values():
            limiter.set_share(max(share, 1e-6))

    def pause(self, names: frozenset[str]) -> None:
        """Have these providers, and no others, not called until they are resumed."""
        self._paused = names

    @property
    def providers(self) -> tuple[str, ...]:
        """The names of all providers."""
        return tuple(self._health)

    def state(self, name: str) -> BreakerState:
        """Where a provider's breaker stands."""
        return self._health[name].state

    def answered_ms(self, names: Iterable[str]) -> int | None:
        """When one of these last answered anybody, in milliseconds since 1970; None = never yet.

        By the wall clock: it is held against what an intent remembers from another worker.
        """
        return max((self._answered[name] for name in names if name in self._answered), default=None)

    def in_flight(self, name: str) -> int:
        """Count a provider's calls in flight."""
        return self._limiters[name].in_flight

    def pace(self, name: str) -> float:
        """Which part of a provider's limits is used, as its 429s have taught; 1 = all of them."""
        return self._limiters[name].pace

    def most_in_flight(self, name: str) -> float:
        """How many calls to a provider may be in flight at this worker; infinite = no limit."""
        return self._limiters[name].capacity

    def wait_s(self, name: str, *, urgent: bool = False) -> float:
        """Seconds until a provider may be called, as far as is known; 0 = now."""
        if name in self._paused:
            return PAUSED_WAIT_S
        now, limiter = self._clock.monotonic(), self._limiters[name]
        full = FULL_WAIT_S if limiter.full(urgent=urgent) else 0.0
        return max(self._health[name].wait_s(now), limiter.wait_s(now), full)

    def room(self, name: str) -> float:
        """How many jobs that begin with a provider make sense at the same time."""
        if not self._health[name].available:
            return 1
        limiter = self._limiters[name]
        soon = limiter.calls_within(SOON_S)
        return max(1.0, min(limiter.capacity * 1.5, soon + limiter.in_flight))

    def take(self, name: str, tokens: int) -> Turn:
        """Start a call of about so many tokens; its end must be told by `end` or `cancel`."""
        now = self._clock.monotonic()
        before = self._health[name].state
        probe = self._health[name].begin(now)
        self._limiters[name].reserve(now, tokens)
        self._tell(name, before)
        return Turn(name, tokens, probe)

    def end(
        self,
        turn: Turn,
        failure: Failure | None,
        *,
        tokens: int,
        rest_s: float = 0.0,
        evidence: str = "",
    ) -> None:
        """Note how a call ended, what it used, and how long the provider asked to be left alone.

        `evidence`: whose call it was, or whose choice of a model, for refusals without a reason.
        """
        now = self._clock.monotonic()
        health, limiter = self._health[turn.provider], self._limiters[turn.provider]
        before, kind = health.state, failure.kind if failure else None
        another_s = failure.another_key_s if failure else None
        if another_s is not None:  # one key was refused, and not the provider's last one
            health.cancel(probe=turn.probe)
            health.rest(now, another_s)
            limiter.settle(turn.tokens, tokens)
            return
        asked = failure.retry_after_ms if failure else None
        if kind not in SILENCE:  # a refusal is an answer too
            self._answered[turn.provider] = self._clock.now_ms()
        health.end(
            now,
            kind,
            probe=turn.probe,
            retry_after_s=None if asked is None else asked / 1000,
            evidence=evidence,
        )
        limiter.settle(turn.tokens, tokens)
        if rest_s:
            health.rest(now, rest_s)
        if kind is FailureKind.RATE_LIMIT:
            limiter.throttled(now)
        elif kind is None:
            limiter.answered(now)
        self._tell(turn.provider, before)

    def cancel(self, turn: Turn) -> None:
        """Note a call that was not made, or cancelled."""
        self._health[turn.provider].cancel(probe=turn.probe)
        self._limiters[turn.provider].settle(turn.tokens, 0)

    def _tell(self, name: str, before: BreakerState) -> None:
        health = self._health[name]
        if health.state is not before:
            self._on_change(BreakerChange(name, before, health.state, health.cause))
