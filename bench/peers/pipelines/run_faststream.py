"""FastStream's subscriber, as its documentation has it for work at the same time.

With more than one worker FastStream commits when it has read, before the work is done: a kill -9
loses what was in flight. Its commit after the work keeps one message a partition in flight.
"""

import uvloop
from common import (
    BOOTSTRAP,
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
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

broker = KafkaBroker(
    BOOTSTRAP, acks="all", linger_ms=LINGER_MS, max_batch_size=MOST_BATCH_BYTES, logger=None
)
app = FastStream(broker, logger=None)
results, costs = broker.publisher(RESULTS), broker.publisher(COSTS)
client = []


@app.on_startup
async def up():
    """Open the client within the loop."""
    client.extend(open_client())


@app.after_shutdown
async def down():
    """Close the client."""
    await client[1]()


@broker.subscriber(
    INTENTS,
    group_id=GROUP,
    auto_offset_reset="earliest",
    auto_commit_interval_ms=1000,
    max_workers=CONCURRENCY,
    ack_policy=AckPolicy.ACK_FIRST,
)
async def handle(intent: dict, message: KafkaMessage):
    """One intent."""
    answer = await client[0](intent)
    key = message.raw_message.key
    await results.publish(result_of(intent, answer), key=key)
    await costs.publish(cost_of(intent, answer), key=key)


if __name__ == "__main__":
    uvloop.run(app.run())
