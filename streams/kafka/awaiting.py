"""What a cluster comes to know a moment later: asked again, by tenacity, until it does."""

from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
)
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_delay,
    wait_exponential,
)

from schemas.settings import Settings
from streams.kafka.metadata import see_topics
from streams.kafka.rights import lacking

__all__ = ["coordinator_of", "until_seen"]

COORDINATOR_LIMIT_S = 15.0
NO_COORDINATOR_YET = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError)
#: Brokers know of new partitions after this many seconds at the latest.
SEEN_LIMIT_S = 15.0


async def until_seen(admin: AIOKafkaAdminClient, wanted: Mapping[str, int]) -> None:
    """Return when topics have their partitions, as brokers come to know of them; or in some time.

    What is still missing then is said by whoever looks next.
    """

    async def there() -> bool:
        seen = await see_topics(admin, list(wanted))
        return all(seen[name].hidden or seen[name].partitions >= wanted[name] for name in wanted)

    tries = AsyncRetrying(
        retry=retry_if_result(lambda found: not found),
        wait=wait_exponential(multiplier=0.05, max=1),
        stop=stop_after_delay(SEEN_LIMIT_S),
        retry_error_callback=lambda _state: False,
    )
    await tries(there)


async def coordinator_of(settings: Settings, admin: AIOKafkaAdminClient, group: str) -> int:
    """Give the node that coordinates a group; raises RightsError, KafkaError.

    A cluster on which no group has been yet makes its first coordinator when it is asked for one.
    """
    tries = AsyncRetrying(
        retry=retry_if_exception_type(NO_COORDINATOR_YET),
        wait=wait_exponential(multiplier=0.1, max=1),
        stop=stop_after_delay(COORDINATOR_LIMIT_S),
        reraise=True,
    )
    try:
        node: int = await tries(admin.find_coordinator, group)
    except GroupAuthorizationFailedError as error:
        raise lacking(settings, [("DESCRIBE on group", group)]) from error
    return node
