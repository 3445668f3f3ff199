"""What a broker says about topics: partitions, what this user may do there, and which one it is.

The rights are of KIP-430; the ids, which tell a topic from one of its name before, of KIP-516.
"""

import uuid
from dataclasses import dataclass
from io import BytesIO

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v4, MetadataRequest_v5
from aiokafka.protocol.types import (
    AbstractType,
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    String,
    TaggedFields,
)

__all__ = ["TopicSeen", "see_topics"]

#: Codes of operations in Kafka's protocol, which are the bits of what is granted.
OPERATIONS = {"READ": 3, "WRITE": 4, "DESCRIBE": 8, "DESCRIBE_CONFIGS": 10}
#: What a broker answers that does not say what is granted (INT32_MIN).
NOT_SAID = -(2**31)
RIGHTS_SINCE_VERSION = 8
IDS_SINCE_VERSION = 10
#: What a broker answers that has no ids for its topics.
NO_ID = uuid.UUID(int=0)


class _Response(Response):
    """Metadata, version 8: the first with the operations that are granted."""

    API_KEY = 3
    API_VERSION = RIGHTS_SINCE_VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(
                ("node_id", Int32),
                ("host", String("utf-8")),
                ("port", Int32),
                ("rack", String("utf-8")),
            ),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("operations", Int32),
            ),
        ),
        ("cluster_operations", Int32),
    )


class _Request(RequestStruct):
    API_KEY = 3
    API_VERSION = RIGHTS_SINCE_VERSION
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_operations", Boolean),
        ("include_topic_operations", Boolean),
    )


class _Uuid(AbstractType[uuid.UUID]):
    """Sixteen bytes, which the library has no type for."""

    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))


class _ResponseWithIds(Response):
    """Metadata, version 10: the first with ids of topics."""

    API_KEY = 3
    API_VERSION = IDS_SINCE_VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_operations", Int32),
        ("tags", TaggedFields),
    )


class _RequestWithIds(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = IDS_SINCE_VERSION
    RESPONSE_TYPE = _ResponseWithIds
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields)
            ),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_operations", Boolean),
        ("include_topic_operations", Boolean),
        ("tags", TaggedFields),
    )


class _TopicsRequest(Request[MetadataRequest_v4 | MetadataRequest_v5 | _Request | _RequestWithIds]):
    """Asks for some topics, in the newest version that client and broker know; creates none."""

    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[RequestStruct]) -> RequestStruct:
        if request_struct_class.API_VERSION < RIGHTS_SINCE_VERSION:
            return request_struct_class(self._names, False)  # noqa: FBT003 - fields of a protocol
        if request_struct_class.API_VERSION < IDS_SINCE_VERSION:
            return request_struct_class(self._names, False, False, True)  # noqa: FBT003
        tags: dict[int, bytes] = {}
        named = [(NO_ID, name, tags) for name in self._names]
        return request_struct_class(named, False, False, True, tags)  # noqa: FBT003


@dataclass(frozen=True, slots=True)
class TopicSeen:
    """A topic as this user sees it.

    `partitions`: 0 = it is not there. `hidden`: this user may not see whether it is.
    `rights`: what is granted of READ, WRITE, DESCRIBE, DESCRIBE_CONFIGS; None = not said
    (brokers before 2.3, and some that are not Kafka). `topic_id`: other for each topic that was
    ever made, also under one name; None = not there, or not said (brokers before 2.8).
    """

    partitions: int
    hidden: bool = False
    rights: frozenset[str] | None = None
    topic_id: str | None = None


async def see_topics(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, TopicSeen]:
    """Look at topics by name; raises KafkaError."""
    answer = await admin._send_request(_TopicsRequest(names))  # noqa: SLF001 - no public way
    return {one["topic"]: _seen(one) for one in answer.to_object()["topics"]}


def _seen(topic: dict[str, object]) -> TopicSeen:
    if topic["error_code"] == TopicAuthorizationFailedError.errno:
        return TopicSeen(0, hidden=True)
    granted = topic.get("operations", NOT_SAID)
    partitions = topic["partitions"]
    if not isinstance(granted, int) or not isinstance(partitions, list):
        message = "a broker answered with metadata that is none"
        raise TypeError(message)
    rights = frozenset(name for name, code in OPERATIONS.items() if granted & (1 << code))
    found = topic.get("topic_id", NO_ID)
    return TopicSeen(
        len(partitions),
        rights=None if granted == NOT_SAID else rights,
        topic_id=None if found == NO_ID else str(found),
    )
