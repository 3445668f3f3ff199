"""When outcomes came, by lane: what recovery times are made of."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise

from aiokafka.partitioner import DefaultPartitioner

from schemas.settings import Settings
from streams.kafka.reading import read_topic

__all__ = ["OutcomeWatch"]

#: A silence that begins this long after a fault still counts as the fault's.
FAULT_SHADOW_S = 8.0


class OutcomeWatch:
    """Counts distinct outcomes as they come; times are those at which workers wrote them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._partitioner = DefaultPartitioner()
        self._seen: set[str] = set()
        self._results: set[str] = set()
        #: lane → wall times of its outcomes
        self._times: dict[int, list[float]] = defaultdict(list)

    @property
    def count(self) -> int:
        return len(self._seen)

    def missing(self, names: set[str], *, results: bool = False) -> set[str]:
        """Give those intents that have no outcome yet, or no result."""
        return names - (self._results if results else self._seen)

    def first_after(self, moment: float, lanes: Iterable[int]) -> float:
        """Seconds until the first new outcome of any of the lanes; NaN when none came."""
        later = [at for lane in lanes for at in self._times[lane] if at > moment]
        return min(later, default=float("nan")) - moment

    def longest_silence(self, moment: float, lanes: Iterable[int]) -> float:
        """The longest silence of any of the lanes that began with or soon after a fault."""
        silences = [0.0]
        for lane in lanes:
            later = [moment, *sorted(at for at in self._times[lane] if at > moment)]
            silences += [b - a for a, b in pairwise(later) if a - moment < FAULT_SHADOW_S]
        return max(silences)

    async def follow(self) -> None:
        topics = self._settings.topics
        await asyncio.gather(self._follow(topics.results), self._follow(topics.dead_letters))

    async def _follow(self, topic: str) -> None:
        while True:
            with suppress(Exception):
                async for record in read_topic(self._settings, topic, follow=True):
                    document = json.loads(record.value or b"{}")
                    key = document["intent_id"]
                    if document.get("reason") in {"poison", "invalid_intent"}:
                        key = document["dead_letter_id"]
                    if topic == self._settings.topics.results:
                        self._results.add(key)
                    if key not in self._seen:
                        self._seen.add(key)
                        self._times[self._lane(key)].append(record.timestamp / 1000)
            await asyncio.sleep(1)

    def _lane(self, intent_id: str) -> int:
        count = self._settings.hybrid_partitions
        return int(self._partitioner(intent_id.encode(), range(count), range(count)))
