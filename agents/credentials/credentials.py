"""Who we are to one provider: which key a call is made with, and what its end says of that key.

    call ── take ──► Grant(headers) ── answered / refused ──► which key is next, and when

A key that is refused rests, and the call is made again with the next one: the provider itself is
blamed only where no key is left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agents.clock import Clock
from agents.credentials.ring import KeyRing
from agents.credentials.slot import Slot
from agents.credentials.sources import Fixed, Source
from agents.log import Log, silent
from schemas.vocabulary import FailureKind, LogEvent

__all__ = ["Credentials", "Grant", "Refusal"]

#: Refusals that say that a key was taken.
ACCEPTED = frozenset(
    {
        FailureKind.BAD_REQUEST,
        FailureKind.UNSUPPORTED_PARAMETER,
        FailureKind.CONTEXT_LENGTH,
        FailureKind.CONTENT_FILTER,
        FailureKind.BAD_OUTPUT,
    }
)
#: Refusals that may be the key's fault.
ABOUT_THE_KEY = frozenset(
    {FailureKind.AUTH, FailureKind.QUOTA, FailureKind.RATE_LIMIT, FailureKind.REFUSED}
)


@dataclass(frozen=True, slots=True)
class Grant:
    """The key of one call; given back by `answered`, `refused` or `cancelled`."""

    headers: Mapping[str, str] = field(repr=False)
    number: int
    generation: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a refused call says of the keys."""

    #: What the log calls the key; never the key.
    label: str
    #: How many keys the provider has.
    keys: int
    #: Seconds until another key may be asked; None = the refusal is the provider's.
    another_s: float | None
    #: Seconds until some key may be asked, where all of them rest; None = as the provider said.
    wait_s: float | None = None


class Credentials:
    """The keys of one provider, as one worker sees them."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        provider: str,
        clock: Clock,
        header: str = "Authorization",
        log: Log = silent,
        suspend_s: float = 30.0,
        beside: Sequence[Source] = (),
    ) -> None:
        """Keep where keys come from, and the header that carries them, a bearer's or a bare one.

        Without a header they are not sent: the configuration has one of its own. `beside` is what
        else is to be kept current: a client's certificate. Times in seconds.
        """
        self._slots = [Slot(one, provider=provider, clock=clock, log=log) for one in sources]
        self._beside = [Slot(one, provider=provider, clock=clock, log=log) for one in beside]
        self._ring = KeyRing(len(sources), suspend_s)
        self._known: list[str | None] = [None] * len(sources)
        self.header = header
        self._provider = provider
        self._clock = clock
        self._log = log

    @classmethod
    def of_key(cls, key: str, *, provider: str, clock: Clock, header: str) -> "Credentials":
        """Make those of one key that never changes."""
        return cls([Fixed(provider, key)], provider=provider, clock=clock, header=header)

    @property
    def usable(self) -> int:
        """How many keys are usable, as far as is known."""
        return self._ring.usable(self._clock.monotonic())

    @property
    def labels(self) -> tuple[str, ...]:
        """What the log calls each key."""
        return tuple(slot.label for slot in self._slots)

    def prime(self, *, keys: bool = True) -> None:
        """Read files once, at start, those of `keys` too; raises SecretError."""
        for slot in (*(self._slots if keys else ()), *self._beside):
            slot.prime()
        self._known = [slot.text for slot in self._slots]

    async def take(self) -> Grant:
        """Give the key of the next call; raises SecretError when its source gives none."""
        for slot in self._beside:
            await slot.current()
        for number, slot in enumerate(self._slots):
            self._learn(number, slot.glance())
        number, generation = self._ring.choose(self._clock.monotonic())
        try:
            text = await self._slots[number].current()
        except BaseException:
            self._ring.cancelled(number, generation)
            raise
        if self._learn(number, text):
            number, generation = self._ring.choose(self._clock.monotonic(), only=number)
        return Grant(self._shown(text), number, generation, text)

    async def headers(self, number: int) -> dict[str, str]:
        """Give what shows one of the keys, whatever its health; raises SecretError."""
        return self._shown(await self._slots[number].current())

    def _shown(self, text: str) -> dict[str, str]:
        value = f"Bearer {text}" if self.header == "Authorization" else text
        return {self.header: value} if self.header else {}

    def answered(self, grant: Grant, *, rest_s: float = 0.0) -> float:
        """Note an answer, and for how long it asked to be left alone, in seconds.

        Gives the seconds for which that holds for the provider: no other key is free before.
        """
        now = self._clock.monotonic()
        return self._ring.answered(grant.number, grant.generation, now, rest_s=rest_s)

    def cancelled(self, grant: Grant) -> None:
        """Note a call that told nothing of its key."""
        self._ring.cancelled(grant.number, grant.generation)

    async def refused(
        self, grant: Grant, kind: FailureKind, *, retry_after_s: float | None
    ) -> Refusal | None:
        """Note a failed call, and look whether there is another key for it; None = not the key."""
        if kind in ACCEPTED:
            self.answered(grant)
        elif kind not in ABOUT_THE_KEY:
            self.cancelled(grant)
        if kind not in ABOUT_THE_KEY:
            return None
        verdict = self._ring.refused(
            grant.number,
            grant.generation,
            self._clock.monotonic(),
            kind=kind,
            retry_after_s=retry_after_s,
        )
        slot, another_s = self._slots[grant.number], verdict.another_s
        if kind is FailureKind.AUTH:
            self._learn(grant.number, await slot.renew(grant.text), refused=True)
            another_s = self._ring.another_s(self._clock.monotonic(), final=True)
        if verdict.suspended:
            self._log(
                LogEvent.KEY_REFUSED,
                level="warning",
                provider=self._provider,
                key=slot.label,
                error_kind=kind.value,
                usable=self.usable,
                keys=len(self._slots),
            )
        wait_s = None
        if another_s is None and kind is FailureKind.RATE_LIMIT and len(self._slots) > 1:
            wait_s = self._ring.soonest_s(self._clock.monotonic())
        return Refusal(slot.label, len(self._slots), another_s, wait_s)

    def close(self) -> None:
        """Give up what is being read."""
        for slot in (*self._slots, *self._beside):
            slot.close()

    def _learn(self, number: int, text: str | None, *, refused: bool = False) -> bool:
        """Note the key of now; gives whether it took the place of another one."""
        before = self._known[number]
        if text in {None, before}:
            return False
        self._known[number] = text
        if before is None:
            return False
        if refused:
            self._ring.renewed(number)
        else:
            self._ring.replaced(number)
        return True
