"""What workers follow: answers that were paid for, what tenants have spent, what is ordered."""

import asyncio
from collections.abc import Callable

from aiokafka import ConsumerRecord

from agents.clock import Clock
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.log import Log
from schemas.budgets import SpendRecord
from schemas.events import CachedAnswer
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.kafka.content_keys import learnt
from streams.kafka.following import follow
from streams.messages.records import readable_headers
from streams.messages.sealed import UnreadableError
from streams.messages.sealing import Vault
from streams.worker.supervisor import Supervisor

__all__ = ["Followers"]

#: Seconds that a worker waits at its start to learn what was spent, and ordered, before.
KNOWN_LIMIT_S = 30


class Followers:
    """Feeds cache and budgets from the topics that all workers write."""

    def __init__(
        self,
        settings: Settings,
        *,
        cache: AnswerCache,
        spending: Spending,
        ordered: Callable[[ConsumerRecord], None],
        vault: Vault,
        clock: Clock,
        log: Log,
    ) -> None:
        """Keep what is fed: the cache, the sums of spending; `ordered` carries out an order."""
        self._ordered = ordered
        self._settings = settings
        self._cache = cache
        self._spending = spending
        self._vault = vault
        self._clock = clock
        self._log = log

    async def start(self, supervisor: Supervisor) -> None:
        """Follow them; what was spent, where a budget is set, and ordered is known before work."""
        settings, clock, log = self._settings, self._clock, self._log
        if self._vault.seals:  # before all that it opens
            await self._known(supervisor, settings.topics.keys, "content's keys", self._key)
        cached = follow(settings, settings.topics.cache, self._cached, clock=clock, log=log)
        supervisor.keep("following the cache", cached)
        first = [(settings.topics.operations, "what operators order", self._ordered)]
        if settings.budgets:
            first.append((settings.topics.spend, "what tenants spend", self._spent))
        await asyncio.gather(*(self._known(supervisor, *one) for one in first))

    async def _known(
        self, supervisor: Supervisor, topic: str, what: str, take: Callable[[ConsumerRecord], None]
    ) -> None:
        """Follow a topic, and wait until all of it that was there is known."""
        settings, known = self._settings, asyncio.Event()
        read = follow(settings, topic, take, clock=self._clock, log=self._log, on_current=known.set)
        supervisor.keep(f"following {what}", read)
        try:
            await asyncio.wait_for(known.wait(), KNOWN_LIMIT_S)
        except TimeoutError:
            self._log(LogEvent.FOLLOW_DELAYED, level="warning", topic=topic, error="TimeoutError")

    def _cached(self, record: ConsumerRecord) -> None:
        key, headers = record.key or b"", readable_headers(record.headers)
        try:
            value = self._vault.opened_value(key, record.value or b"", headers)
        except UnreadableError:
            return  # forgotten, or its key comes later: it is asked for once more
        self._cache.put(key.decode(), CachedAnswer.model_validate_json(value))

    def _key(self, record: ConsumerRecord) -> None:
        if learnt(self._vault, record):
            self._cache.clear()  # it does not know whose its answers are

    def _spent(self, record: ConsumerRecord) -> None:
        self._spending.learn(SpendRecord.model_validate_json(record.value or b""))
