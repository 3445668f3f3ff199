"""What workers tell each other: answers that were paid for, and what tenants have spent."""

import asyncio

from aiokafka import ConsumerRecord

from agents.clock import Clock
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.log import Log
from schemas.budgets import SpendRecord
from schemas.events import CachedAnswer
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.kafka.following import follow
from streams.worker.supervisor import Supervisor

__all__ = ["Followers"]

#: Seconds that a worker waits at its start to learn what was spent before.
KNOWN_LIMIT_S = 30


class Followers:
    """Feeds cache and budgets from the topics that all workers write."""

    def __init__(
        self, settings: Settings, *, cache: AnswerCache, spending: Spending, clock: Clock, log: Log
    ) -> None:
        """Keep what is fed: the cache, and the sums of spending."""
        self._settings = settings
        self._cache = cache
        self._spending = spending
        self._clock = clock
        self._log = log

    async def start(self, supervisor: Supervisor) -> None:
        """Follow the cache and, where a budget is set, the spending, once that is known so far."""
        settings, clock, log = self._settings, self._clock, self._log
        cached = follow(settings, settings.topics.cache, self._cached, clock=clock, log=log)
        supervisor.keep("following the cache", cached)
        if settings.budgets:
            topic, known = settings.topics.spend, asyncio.Event()
            spent = follow(settings, topic, self._spent, clock=clock, log=log, on_current=known.set)
            supervisor.keep("following what tenants spend", spent)
            try:
                await asyncio.wait_for(known.wait(), KNOWN_LIMIT_S)
            except TimeoutError:
                log(LogEvent.FOLLOW_DELAYED, level="warning", topic=topic, error="TimeoutError")

    def _cached(self, record: ConsumerRecord) -> None:
        answer = CachedAnswer.model_validate_json(record.value or b"")
        self._cache.put((record.key or b"").decode(), answer)

    def _spent(self, record: ConsumerRecord) -> None:
        self._spending.learn(SpendRecord.model_validate_json(record.value or b""))
