"""Who waits for an outcome, and which outcomes were seen; without I/O."""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord, TopicPartition

from hybrid.client.outcomes import OutcomeRecord, outcome_of
from schemas.topics import Topics
from schemas.vocabulary import DeadLetterReason
from streams.messages.records import INTENT_ID_HEADER, header

__all__ = ["Memory", "Waiter", "Waiters", "id_of"]

#: What ends for these reasons was decided about the record, not about its id: the same id, put
#: right and published again, runs.
NOT_DECIDED = frozenset({DeadLetterReason.POISON, DeadLetterReason.INVALID_INTENT})


@dataclass(eq=False)
class Waiter:
    """One call that waits for the outcome of an intent."""

    intent_id: str
    #: None: whoever's it is.
    tenant: str | None
    partitions: tuple[TopicPartition, ...]
    #: Whether it is going to be published, so that what decided nothing does not count.
    publishes: bool
    #: Before it is published, only what is there already counts.
    is_published: bool = False
    #: A dead letter that is there already; a replay of it may have a result further on.
    held: OutcomeRecord | None = None
    future: "asyncio.Future[OutcomeRecord]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def offer(self, found: OutcomeRecord) -> None:
        """Take an outcome of this id, unless it is another tenant's or decides nothing yet."""
        letter = found.dead_letter
        is_unread = letter is not None and letter.reason in NOT_DECIDED
        if self.future.done() or not (is_unread or self._is_for(found)):
            return
        if letter is None or self.is_published:
            self.future.set_result(found)
        elif not (is_unread and self.publishes):
            self.held = found

    @property
    def is_found(self) -> bool:
        """Whether the outcome was there already."""
        return self.future.done() or self.held is not None

    async def outcome(self) -> OutcomeRecord:
        """Give the outcome, which may be there already; raises ClientError."""
        self.is_published = True
        if self.held is not None and not self.future.done():
            return self.held
        return await self.future

    def _is_for(self, found: OutcomeRecord) -> bool:
        return self.tenant is None or found.outcome.tenant == self.tenant


class Waiters:
    """All waiters, by the id that they wait for."""

    def __init__(self, topics: Topics) -> None:
        """Read records as of these topics."""
        self._topics = topics
        self._by_id: defaultdict[str, set[Waiter]] = defaultdict(set)

    def __iter__(self) -> Iterator[Waiter]:
        """Give every waiter."""
        return iter([one for found in self._by_id.values() for one in found])

    def add(self, waiter: Waiter) -> None:
        """Have a waiter offered what comes for its id."""
        self._by_id[waiter.intent_id].add(waiter)

    def remove(self, waiter: Waiter) -> None:
        """Forget a waiter."""
        found = self._by_id[waiter.intent_id]
        found.discard(waiter)
        if not found:
            del self._by_id[waiter.intent_id]

    def give(self, intent_id: str, record: ConsumerRecord) -> None:
        """Offer a record to those who wait for its id; it is parsed only for them."""
        if intent_id in self._by_id and (found := outcome_of(self._topics, record)) is not None:
            for waiter in tuple(self._by_id[intent_id]):
                waiter.offer(found)

    def fail(self, error: Exception) -> None:
        """End every wait by an error."""
        for waiter in self:
            if not waiter.future.done():
                waiter.future.set_exception(error)


class Memory:
    """Where the outcomes stand that were read last."""

    def __init__(self, most: int) -> None:
        """Remember so many, the newest."""
        self._most = most
        self._offsets: OrderedDict[tuple[TopicPartition, str], int] = OrderedDict()

    def note(self, intent_id: str, record: ConsumerRecord) -> None:
        """Remember a record's place."""
        name = (TopicPartition(record.topic, record.partition), intent_id)
        self._offsets[name] = record.offset
        self._offsets.move_to_end(name)
        if len(self._offsets) > self._most:
            self._offsets.popitem(last=False)

    def place(self, tp: TopicPartition, intent_id: str) -> int | None:
        """Give where the outcome of an id stands in a partition; None where none is known."""
        return self._offsets.get((tp, intent_id))


def id_of(topics: Topics, record: ConsumerRecord) -> str | None:
    """Give whose outcome a record is; from its header, so that it need not be parsed."""
    stated = header(((name, raw or b"") for name, raw in record.headers), INTENT_ID_HEADER)
    if stated:
        return stated.decode("utf-8", "replace")
    found = outcome_of(topics, record)
    return found.intent_id if found else None
