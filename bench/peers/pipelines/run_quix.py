"""Quix Streams with the blocking openai client: one call at a time in a process."""

import logging

import openai
from common import (
    BASE_URL,
    BOOTSTRAP,
    COMMIT_EVERY_S,
    COSTS,
    GROUP,
    INTENTS,
    KEY,
    LINGER_MS,
    RESULTS,
    answer_of,
    chat_request,
    cost_of,
    result_of,
)
from quixstreams import Application

client = openai.OpenAI(base_url=BASE_URL, api_key=KEY)
app = Application(
    broker_address=BOOTSTRAP,
    consumer_group=GROUP,
    auto_offset_reset="earliest",
    commit_interval=COMMIT_EVERY_S,
    loglevel=logging.WARNING,
    producer_extra_config={"linger.ms": LINGER_MS, "acks": "all"},
    use_changelog_topics=False,
)


def handle(intent):
    """Call the model for one intent."""
    return intent, answer_of(client.chat.completions.create(**chat_request(intent)))


intents = app.topic(INTENTS, value_deserializer="json", key_deserializer="bytes")
results = app.topic(RESULTS, value_serializer="json", key_serializer="bytes")
costs = app.topic(COSTS, value_serializer="json", key_serializer="bytes")
answered = app.dataframe(intents).apply(handle)
answered.apply(lambda done: result_of(*done)).to_topic(results)
answered.apply(lambda done: cost_of(*done)).to_topic(costs)

if __name__ == "__main__":
    app.run()
