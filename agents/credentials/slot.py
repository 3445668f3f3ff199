"""One secret kept current: read beside the calls, awaited only where there is none to use."""

import asyncio
from math import inf

from agents.clock import Clock
from agents.credentials.sources import Secret, SecretError, Source
from agents.log import Log
from schemas.vocabulary import LogEvent

__all__ = ["Slot"]

#: A call waits for its secret no longer than this, in seconds.
WAIT_S = 15.0


class Slot:
    """The newest secret of one source; the last good one stays when its source gives none."""

    def __init__(self, source: Source, *, provider: str, clock: Clock, log: Log) -> None:
        """Keep the source; nothing is read yet."""
        self._source = source
        self._provider = provider
        self._clock = clock
        self._log = log
        self._secret: Secret | None = None
        self._read_at = -inf  # when the secret was read
        self._looked_at = -inf  # when the source was asked, whatever it gave
        self._reading: asyncio.Task[SecretError | None] | None = None
        self._said = False

    @property
    def label(self) -> str:
        """What the log calls it."""
        return self._source.label

    @property
    def text(self) -> str | None:
        """The secret as it was last read; None before that."""
        return None if self._secret is None else self._secret.text

    def prime(self) -> None:
        """Read it once, here and now, at start; raises SecretError."""
        self._keep(self._source.read())

    def glance(self) -> str | None:
        """Give the secret without waiting; one that is old is looked at again beside the calls."""
        if self._secret is not None and self._age_s() >= self._secret.fresh_s:
            self._read()
        return self.text

    async def current(self) -> str:
        """Give a secret that can be used; raises SecretError when there is none."""
        secret = self._secret
        if secret is None or self._expired(secret) or self._age_s() >= 2 * secret.fresh_s:
            error = await self._done(self._read())
            secret = self._secret
            if secret is None or self._expired(secret):
                raise error or SecretError(f"{self.label} gave nothing in time")
        else:
            self.glance()
        return secret.text

    async def renew(self, refused: str) -> str | None:
        """Look for another secret than the refused one, at once; gives what is there then."""
        if self.text == refused:
            await self._done(self._read(anew=True))
        return self.text

    def close(self) -> None:
        """Give up what is being read."""
        if self._reading is not None:
            self._reading.cancel()

    def _age_s(self) -> float:
        """Seconds since it was looked at; a source that gives nothing is not asked at each call."""
        return self._clock.monotonic() - self._looked_at

    def _expired(self, secret: Secret) -> bool:
        return self._clock.monotonic() - self._read_at >= secret.good_s

    def _read(self, *, anew: bool = False) -> "asyncio.Task[SecretError | None]":
        """Read in a thread, once for all who want it."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._look(anew=anew))
        return self._reading

    async def _done(self, reading: "asyncio.Task[SecretError | None]") -> SecretError | None:
        """Wait for a reading that others wait for too."""
        try:
            async with asyncio.timeout(WAIT_S):
                return await asyncio.shield(reading)
        except TimeoutError:
            return SecretError(f"{self.label} gave nothing within {WAIT_S:g} s")

    async def _look(self, *, anew: bool) -> SecretError | None:
        began = self._clock.monotonic()
        try:
            secret = await asyncio.to_thread(self._source.read, anew=anew)
        except SecretError as error:
            self._looked_at = began
            if not self._said:
                self._said = True
                self._log(
                    LogEvent.KEY_UNREADABLE,
                    level="warning",
                    provider=self._provider,
                    key=self.label,
                    reason=str(error),
                    kept=self._secret is not None,
                )
            return error
        before = self.text
        self._keep(secret, began)
        if before not in {None, secret.text}:
            self._log(LogEvent.KEY_RENEWED, provider=self._provider, key=self.label)
        return None

    def _keep(self, secret: Secret, began: float | None = None) -> None:
        self._secret, self._said = secret, False
        self._read_at = self._looked_at = self._clock.monotonic() if began is None else began
