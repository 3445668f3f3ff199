"""Parts of the local stack that need no process."""

import uuid

from hybrid.stack.kafka import new_cluster_id


def test_no_cluster_id_begins_with_a_dash() -> None:
    """Kafka's storage tool takes it for an option: one start in 64 failed (seen)."""
    dashed, plain = uuid.UUID(bytes=b"\xf8" + bytes(15)), uuid.UUID(bytes=bytes(16))
    drawn = iter([dashed, plain])
    assert new_cluster_id(lambda: next(drawn)) == "AAAAAAAAAAAAAAAAAAAAAA"
