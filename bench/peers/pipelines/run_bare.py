"""Bare aiokafka on uvloop: bounded concurrency, the commit of the contiguous done offset."""

import asyncio
import signal

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from common import (
    BOOTSTRAP,
    COMMIT_EVERY_S,
    CONCURRENCY,
    COSTS,
    GROUP,
    INTENTS,
    LINGER_MS,
    MOST_BATCH_BYTES,
    RESULTS,
    cost_of,
    open_client,
    result_of,
)


class Tracker:
    """The contiguous done offset of one partition."""

    __slots__ = ("committed", "done", "next")

    def __init__(self, first):
        self.next = self.committed = first
        self.done = set()

    def mark(self, offset):
        """Take an offset as done; they come in any order."""
        if offset != self.next:
            self.done.add(offset)
            return
        following = offset + 1
        while following in self.done:
            self.done.remove(following)
            following += 1
        self.next = following


def on_acknowledged(tracker, offset):
    """Give the callback of both records of an offset: with the second, it is done."""
    left = 2

    def hit(future):
        nonlocal left
        if future.exception() is not None:
            raise SystemExit(f"produce failed: {future.exception()!r}")
        left -= 1
        if not left:
            tracker.mark(offset)

    return hit


async def main():
    """Run until SIGTERM."""
    call, close = open_client()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP,
        acks="all",
        linger_ms=LINGER_MS,
        max_batch_size=MOST_BATCH_BYTES,
    )
    await consumer.start()
    await producer.start()
    trackers = {}
    queue = asyncio.Queue(maxsize=CONCURRENCY)

    async def commit():
        mine = consumer.assignment()
        todo = {
            place: tracker.next
            for place, tracker in trackers.items()
            if tracker.next != tracker.committed and place in mine
        }
        if todo:
            await consumer.commit(todo)
            for place, offset in todo.items():
                trackers[place].committed = offset

    class Rebalance(ConsumerRebalanceListener):
        """What was in flight is done again by the next owner."""

        async def on_partitions_revoked(self, revoked):
            await commit()
            trackers.clear()

        async def on_partitions_assigned(self, assigned):
            pass

    consumer.subscribe([INTENTS], listener=Rebalance())

    async def work():
        while True:
            tracker, record = await queue.get()
            intent = orjson.loads(record.value)
            answer = await call(intent)
            hit = on_acknowledged(tracker, record.offset)
            for topic, document in (
                (RESULTS, result_of(intent, answer)),
                (COSTS, cost_of(intent, answer)),
            ):
                sent = await producer.send(topic, orjson.dumps(document), key=record.key)
                sent.add_done_callback(hit)

    async def commit_often():
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            await commit()

    async def feed():
        while True:
            batches = await consumer.getmany(timeout_ms=500, max_records=1000)
            for place, records in batches.items():
                tracker = trackers.setdefault(place, Tracker(records[0].offset))
                for record in records:
                    await queue.put((tracker, record))

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.set)
    stopper = asyncio.create_task(stop.wait())
    tasks = [
        asyncio.create_task(one)
        for one in (feed(), commit_often(), *(work() for _ in range(CONCURRENCY)))
    ]
    ended, _ = await asyncio.wait([stopper, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await producer.flush()
    await commit()
    await producer.stop()
    await consumer.stop()
    await close()
    for task in ended - {stopper}:
        task.result()  # one that died shows its error


if __name__ == "__main__":
    uvloop.run(main())
