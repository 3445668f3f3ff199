"""A Faust agent with as many copies as calls may be in flight, as its documentation has it.

Offsets are committed past messages in flight when they end out of order: a kill -9 can lose some.
Run as: run_faust.py worker -l warn --without-web
"""

import faust
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

app = faust.App(
    GROUP,
    broker=f"kafka://{BOOTSTRAP}",
    store="memory://",
    datadir=f"./faust-{GROUP}",
    value_serializer="json",
    broker_commit_interval=COMMIT_EVERY_S,
    producer_linger=LINGER_MS / 1000,
    producer_acks=-1,
    producer_max_batch_size=MOST_BATCH_BYTES,
    consumer_auto_offset_reset="earliest",
    topic_disable_leader=True,
    web_enabled=False,
)
intents = app.topic(INTENTS, value_serializer="json")
results = app.topic(RESULTS, value_serializer="json")
costs = app.topic(COSTS, value_serializer="json")
client = []


@app.agent(intents, concurrency=CONCURRENCY)
async def handle(stream):
    """Intents, one at a time in each copy."""
    if not client:
        client.extend(open_client())
    async for key, intent in stream.items():
        answer = await client[0](intent)
        await results.send(key=key, value=result_of(intent, answer))
        await costs.send(key=key, value=cost_of(intent, answer))


if __name__ == "__main__":
    app.main()
