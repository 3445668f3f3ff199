"""Which of a provider's keys is used: each has its own health; pure.

    usable ── 401, no quota left ───────────► suspended: 30 s, then twice as long each time; one
      ▲ ▲                                       call at a time tries it, an answer ends it
      │ └──────── an answer, or another key in its place ──┘
      └────────── the rest is over ◄──── resting: a 429, for as long as the provider asked

A refusal without a reason (403) says nothing of the key, unless it comes three times in a row while
another key is answered.
"""

from dataclasses import dataclass, field
from math import inf

from schemas.vocabulary import FailureKind

__all__ = ["KeyRing", "Verdict"]

#: What makes a key useless until somebody, or a month's end, changes it.
FINAL = frozenset({FailureKind.AUTH, FailureKind.QUOTA})
#: Refusals that say something of the key.
CONCERNED = FINAL | {FailureKind.RATE_LIMIT}
MOST_SUSPENDED_S = 600.0
#: Seconds of rest after a 429 that names none; twice as long after each further one.
SHORT_REST_S, MOST_SHORT_S = 1.0, 60.0
#: Refusals without a reason, in a row, until the key is to blame.
SUSPECT_AFTER = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a refusal says of the keys."""

    #: Seconds until another key, or this one renewed, may be asked; None = there is none to ask.
    another_s: float | None
    #: Whether the key is now taken for useless.
    suspended: bool = False


@dataclass(slots=True)
class _Key:
    """One key as this worker sees it."""

    rests_until: float = -inf
    suspended: bool = False
    #: Refusals in a row: the longer, the longer its rest.
    refusals: int = 0
    throttled: int = 0
    suspects: int = 0
    #: Answers that other keys had got when the first of the suspects came.
    answers_then: int = 0
    probed: bool = False
    last_used: int = 0
    #: Moves with each verdict, so that calls which began before it have no say in it.
    generation: int = 0
    #: Renewed after a refusal, and not answered since.
    unproven: bool = False

    def wait_s(self, now: float) -> float:
        return max(0.0, self.rests_until - now)


@dataclass(slots=True)
class KeyRing:
    """All keys of one provider, by number; every `now` is seconds on one monotonic clock."""

    count: int
    #: Seconds for which a refused key is not asked, the first time.
    suspend_s: float = 30.0
    _keys: list[_Key] = field(init=False)
    _used: int = field(default=0, init=False)
    _answers: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Begin with all of them usable."""
        self._keys = [_Key() for _ in range(self.count)]

    def usable(self, now: float) -> int:
        """Count the keys that are not known to be of no use now."""
        return sum(not key.suspended and not key.wait_s(now) for key in self._keys)

    def choose(self, now: float, *, only: int | None = None) -> tuple[int, int]:
        """Give the key of the next call, and its generation: the one longest unused, in turn.

        Where none is free it is the one whose rest ends first: who asks has been let through.
        """
        asked = range(self.count) if only is None else (only,)
        free = [number for number in asked if self._is_free(self._keys[number], now)]
        number = min(free, key=self._by_use) if free else min(asked, key=self._by_rest)
        key = self._keys[number]
        self._used += 1
        key.last_used = self._used
        key.probed = key.probed or key.suspended
        return number, key.generation

    def answered(self, number: int, generation: int, now: float, *, rest_s: float = 0.0) -> float:
        """Note an answer, and for how long the provider asked this key to be left alone.

        Gives the seconds for which the provider as a whole must be: no other key is free.
        """
        key = self._keys[number]
        if generation == key.generation:
            self._answers += 1
            self._keys[number] = _Key(last_used=key.last_used, generation=key.generation)
            self._keys[number].rests_until = now + rest_s if rest_s else -inf
        return min(one.wait_s(now) for one in self._keys) if rest_s else 0.0

    def cancelled(self, number: int, generation: int) -> None:
        """Note a call that told nothing."""
        if generation == self._keys[number].generation:
            self._keys[number].probed = False

    def refused(
        self,
        number: int,
        generation: int,
        now: float,
        *,
        kind: FailureKind,
        retry_after_s: float | None,
    ) -> Verdict:
        """Note a refusal; says whether another key may be asked in its place."""
        key = self._keys[number]
        suspended = False
        if generation == key.generation:  # else what was to be learnt of it is known already
            key.probed = False
            if kind in FINAL or (kind is FailureKind.REFUSED and self._is_keys(key)):
                self._suspend(key, now)
                suspended = True
            elif kind is FailureKind.RATE_LIMIT:
                self._rest(key, now, retry_after_s)
        if not suspended and kind not in CONCERNED:
            return Verdict(None)
        final = suspended or kind in FINAL
        return Verdict(self.another_s(now, final=final), suspended=suspended)

    def another_s(self, now: float, *, final: bool) -> float | None:
        """Seconds until a key that is not suspended may be asked; None = the refusal stands.

        After a rate limit only a key that is free now is another one: else the provider's own
        wait holds. After a refusal for good (`final`) a rest that passes is waited for.
        """
        waits = [one.wait_s(now) for one in self._keys if not one.suspended]
        if not waits or (min(waits) > 0 and not final):
            return None
        return min(waits)

    def renewed(self, number: int) -> None:
        """Note that another key is in its place, after a refusal.

        Where that was so the last time too, and the new one was refused like the old one, it is
        suspended as that was: a source of useless keys does not make calls without end.
        """
        before = self._keys[number]
        key = _Key(last_used=before.last_used, generation=before.generation + 1, unproven=True)
        if before.unproven:
            key.rests_until, key.suspended = before.rests_until, before.suspended
            key.refusals = before.refusals
        self._keys[number] = key

    def replaced(self, number: int) -> None:
        """Note that another key is in its place, which nobody has refused."""
        before = self._keys[number]
        self._keys[number] = _Key(last_used=before.last_used, generation=before.generation + 1)

    def soonest_s(self, now: float) -> float:
        """Seconds until some key has no rest any more."""
        return min(key.wait_s(now) for key in self._keys)

    def _by_use(self, number: int) -> int:
        return self._keys[number].last_used

    def _by_rest(self, number: int) -> tuple[bool, float, int]:
        key = self._keys[number]
        return key.probed, key.rests_until, key.last_used

    @staticmethod
    def _is_free(key: _Key, now: float) -> bool:
        return not key.wait_s(now) and not (key.suspended and key.probed)

    def _is_keys(self, key: _Key) -> bool:
        """Say whether refusals without a reason are this key's: others are answered between."""
        if not key.suspects:
            key.answers_then = self._answers
        key.suspects += 1
        return key.suspects >= SUSPECT_AFTER and self._answers > key.answers_then

    @staticmethod
    def _rest(key: _Key, now: float, retry_after_s: float | None) -> None:
        wait = min(SHORT_REST_S * 2**key.throttled, MOST_SHORT_S)
        key.throttled += 1
        key.generation += 1
        key.rests_until = now + (wait if retry_after_s is None else retry_after_s)

    def _suspend(self, key: _Key, now: float) -> None:
        wait = min(self.suspend_s * 2**key.refusals, MOST_SUSPENDED_S)
        key.refusals += 1
        key.generation += 1
        key.suspended = True
        key.rests_until = now + wait
