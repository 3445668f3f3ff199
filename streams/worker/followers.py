"""What workers tell each other: answers that were paid for, and what tenants have spent."""

from aiokafka import ConsumerRecord

from agents.clock import Clock
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.log import Log
from schemas.budgets import SpendRecord
from schemas.events import CachedAnswer
from schemas.settings import Settings
from streams.kafka.following import follow
from streams.worker.supervisor import Supervisor

__all__ = ["Followers"]


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

    def start(self, supervisor: Supervisor) -> None:
        """Follow the cache and, where a budget is set, the spending."""
        settings, clock, log = self._settings, self._clock, self._log
        cached = follow(settings, settings.topics.cache, self._cached, clock=clock, log=log)
        supervisor.keep("following the cache", cached)
        if settings.budgets:
            spent = follow(settings, settings.topics.spend, self._spent, clock=clock, log=log)
            supervisor.keep("following what tenants spend", spent)

    def _cached(self, record: ConsumerRecord) -> None:
        answer = CachedAnswer.model_validate_json(record.value or b"")
        self._cache.put((record.key or b"").decode(), answer)

    def _spent(self, record: ConsumerRecord) -> None:
        self._spending.learn(SpendRecord.model_validate_json(record.value or b""))
