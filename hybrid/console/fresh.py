"""Something that is read at most so often, by all readers together, and shown with its age."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from aiokafka.errors import KafkaError

from agents.clock import Clock
from hybrid.errors import HybridError
from streams.kafka.clients import BrokerUnavailableError
from streams.kafka.faults import FaultKind, kind_of, right_missing
from streams.kafka.presence import TopicsError
from streams.kafka.rights import RightsError
from streams.messages.key_ring import KeyFileError
from streams.store.clickhouse import ClickHouseRefusedError, ClickHouseUnavailableError
from streams.triage.beginning import PlanError

__all__ = ["BLINK_S", "WORLD", "Answer", "Fresh", "Kept", "Seen", "sentence_of"]

T = TypeVar("T")
#: What nobody notices.
BLINK_S = 0.2
#: Nobody has looked for so long: what was seen then may be of another day.
OLD_S = 15.0
#: What a reader waits for in place of that.
PATIENCE_S = 1.0
#: Errors of the world around us, or of who asks: each says a sentence.
WORLD = (
    BrokerUnavailableError, ClickHouseRefusedError, ClickHouseUnavailableError, HybridError,
    KafkaError, KeyFileError, OSError, PlanError, RightsError, TimeoutError, TopicsError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """What was seen last; `value` None = nothing yet, and `problem` says why, or why it is old."""

    value: T | None
    as_of: datetime | None
    problem: str = ""


class Fresh(Generic[T]):
    """One question: while it is being asked nobody asks it again."""

    def __init__(self, ask: Callable[[], Awaitable[T]], *, clock: Clock, keep_s: float) -> None:
        """Keep the question; its answer is good for `keep_s` seconds."""
        self._ask = ask
        self._clock = clock
        self._keep_s = keep_s
        self._task: asyncio.Task[None] | None = None
        self._seen: Seen[T] = Seen(None, None, "it is being read for the first time")
        self._read_at = float("-inf")
        self._is_wrong = True

    def forget(self) -> None:
        """Have the next reader ask anew; what is on its way was asked before, and is too."""
        self._read_at = float("-inf")
        self._is_wrong = True
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def get(self, *, wait_s: float) -> Seen[T]:
        """Give what is known, asked anew where it is old.

        Waits so long at the most for what is not known yet, or is wrong; for what nobody has asked
        for long, a second; for what is only old, the blink of an eye.
        """
        age_s = self._clock.monotonic() - self._read_at
        if age_s >= self._keep_s:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._read())
            limit_s = PATIENCE_S if age_s >= max(OLD_S, self._keep_s * 2) else BLINK_S
            timeout = wait_s if self._is_wrong else min(wait_s, limit_s)
            await asyncio.wait({self._task}, timeout=timeout)
        return self._seen

    async def _read(self) -> None:
        asked_at = self._clock.now()
        try:
            self._seen = Seen(await self._ask(), asked_at)
        except Exception as error:  # noqa: BLE001 - a page says it, whatever it is
            self._seen = Seen(self._seen.value, self._seen.as_of, sentence_of(error))
        self._read_at, self._is_wrong = self._clock.monotonic(), False


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What was answered, and when it was asked."""

    value: T
    as_of: datetime


class Kept:
    """Answers to questions that readers put together themselves: those of the newest few are kept.

    Who asks what is being asked waits for the same answer. What failed is not kept.
    """

    def __init__(self, *, clock: Clock, keep_s: float, most: int) -> None:
        """Keep no more answers than `most`, each for `keep_s` seconds."""
        self._clock = clock
        self._keep_s = keep_s
        self._most = most
        self._asked: OrderedDict[str, tuple[float, asyncio.Task[Answer[Any]]]] = OrderedDict()

    async def get(self, key: str, ask: Callable[[], Awaitable[T]]) -> Answer[T]:
        """Give the answer of a question that is known by its key; raises what asking raises."""
        now = self._clock.monotonic()
        begun, task = self._asked.get(key, (float("-inf"), None))
        if task is None or (task.done() and now - begun >= self._keep_s):
            task = asyncio.create_task(self._ask(key, ask))
            self._asked[key] = now, task
        self._asked.move_to_end(key)
        while len(self._asked) > self._most:
            self._asked.popitem(last=False)
        # Who leaves takes the answer from nobody.
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Have everything asked anew."""
        self._asked.clear()

    async def _ask(self, key: str, ask: Callable[[], Awaitable[T]]) -> Answer[T]:
        asked_at, task = self._clock.now(), asyncio.current_task()
        try:
            return Answer(await ask(), asked_at)
        except BaseException:
            if self._asked.get(key, (0, None))[1] is task:
                del self._asked[key]
            raise


def sentence_of(error: BaseException) -> str:
    """Say an error of the world around us; of a defect of ours only its kind."""
    if kind_of(error) is FaultKind.RIGHT and not isinstance(error, RightsError):
        return f"the broker refuses this {right_missing(error)}; docs/security.md lists the rights"
    if isinstance(error, WORLD):
        return str(error) or type(error).__name__
    return f"a defect, please report it ({type(error).__name__})"
