"""The batches as a command sees them: read once, whole; and what somebody wants of one."""

import asyncio

from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from schemas.batches import BatchCancel
from schemas.settings import Settings
from streams.batching.book import CANCEL_PREFIX, Book
from streams.kafka.clients import producer, reached
from streams.kafka.content_keys import known_vault
from streams.kafka.ends import END_KEY
from streams.kafka.passing import incoming_of
from streams.kafka.reading import read_topic
from streams.kafka.rights import refused_write
from streams.messages.records import VERSION

__all__ = ["ask_to_cancel", "read_batches"]

SEND_LIMIT_S = 30


async def read_batches(settings: Settings) -> Book:
    """Read `workflow.batches` to its end; raises BrokerUnavailableError, RightsError, TopicsError.

    What is not ours is passed over.
    """
    book, vault = Book(settings), await known_vault(settings)
    async for record in read_topic(settings, settings.topics.batches, needed=True):
        if record.key is None or record.key == END_KEY:
            continue
        try:
            book.load(record.key, vault.opened(incoming_of(record)))
        except ValueError:
            continue
    return book


async def ask_to_cancel(settings: Settings, cancel: BatchCancel) -> None:
    """Write that somebody wants a batch cancelled.

    Raises BrokerUnavailableError, RightsError, KafkaError.
    """
    key = CANCEL_PREFIX + cancel.batch_id.encode()
    fresh = producer(settings, linger_ms=0)
    async with reached(settings, fresh, within_s=SEND_LIMIT_S) as client:
        try:
            async with asyncio.timeout(SEND_LIMIT_S):
                await client.send_and_wait(
                    settings.topics.batches,
                    cancel.to_json(),
                    key=key,
                    partition=0,
                    headers=[VERSION],
                )
        except TopicAuthorizationFailedError as error:
            raise refused_write(settings, error, [settings.topics.batches]) from error
        except TimeoutError as error:
            message = "the broker did not take it in time"
            raise KafkaError(message) from error
