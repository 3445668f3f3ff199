"""Following a small topic: every worker reads all of it, from its beginning on."""

import asyncio
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from agents.clock import Clock
from agents.log import Log
from schemas.settings import Settings
from schemas.versions import require_known
from schemas.vocabulary import LogEvent
from streams.kafka.clients import consumer, partitions_of, started
from streams.kafka.ends import END_KEY
from streams.kafka.faults import is_awaited
from streams.kafka.passing import say_passed_over
from streams.kafka.patience import kept_running

__all__ = ["follow"]

RETRY_S = 2.0
#: A broker that has nothing new keeps the question for so long: who waits must not wake for it.
QUIET_MS = 5_000
#: Until the end of the start is reached, whose last records may be markers that nobody is given.
CATCHING_UP_MS = 500


async def follow(
    settings: Settings,
    topic: str,
    take: Callable[[ConsumerRecord], None],
    *,
    clock: Clock,
    log: Log,
    on_current: Callable[[], None] = lambda: None,
) -> None:
    """Give every record of a topic, old and new, to `take`; goes on until cancelled.

    `on_current` is called when the end that it had at the start is reached, again after each loss
    of the connection. A record that `take` cannot take (somebody else wrote it) is logged and
    passed over.
    """

    async def read() -> None:
        async with started(consumer(settings, fetch_max_wait_ms=QUIET_MS)) as reader:
            tps = await partitions_of(reader, topic)
            reader.assign(tps)
            ends = await reader.end_offsets(tps)
            await reader.seek_to_beginning(*tps)
            while True:
                if ends and await _has_reached(reader, ends):
                    ends = {}
                    on_current()
                wait_ms = CATCHING_UP_MS if ends else QUIET_MS
                for records in (await reader.getmany(timeout_ms=wait_ms)).values():
                    for record in records:
                        _give(record, take, log)
                await asyncio.sleep(0)  # noqa: TID251 - lets others run, waits for nothing

    def tell(error: BaseException) -> None:
        log(LogEvent.FOLLOW_DELAYED, level="warning", topic=topic, error=type(error).__name__)

    await kept_running(read, clock, passes=is_awaited, tell=tell, pause_s=RETRY_S)


async def _has_reached(reader: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    return all([await reader.position(tp) >= end for tp, end in ends.items()])


def _give(record: ConsumerRecord, take: Callable[[ConsumerRecord], None], log: Log) -> None:
    if record.key == END_KEY:
        return
    try:
        require_known(record.topic, record.partition, record.offset, record.headers)
        take(record)
    except Exception as error:  # noqa: BLE001 - nothing in a topic may end those who follow it
        say_passed_over(log, record, error)
