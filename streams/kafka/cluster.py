"""Which cluster it is that we speak to, as its brokers name it."""

from schemas.settings import Settings
from streams.kafka.clients import admin_client

__all__ = ["cluster_id"]


async def cluster_id(settings: Settings) -> str:
    """Give the cluster's id; raises BrokerUnavailableError, KafkaError."""
    async with admin_client(settings) as client:
        described = await client.describe_cluster()
    return str(described.get("cluster_id") or "")
