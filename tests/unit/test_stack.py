"""Parts of the local stack that need no process."""

import json
import uuid
from pathlib import Path

import pytest

from hybrid.errors import UsageError
from hybrid.stack.brokers import Brokers, broker_names
from hybrid.stack.environment import StackOptions
from hybrid.stack.kafka import new_cluster_id
from hybrid.stack.local import LocalStack


def test_no_cluster_id_begins_with_a_dash() -> None:
    """Kafka's storage tool takes it for an option: one start in 64 failed (seen)."""
    dashed, plain = uuid.UUID(bytes=b"\xf8" + bytes(15)), uuid.UUID(bytes=bytes(16))
    drawn = iter([dashed, plain])
    assert new_cluster_id(lambda: next(drawn)) == "AAAAAAAAAAAAAAAAAAAAAA"


def _brokers(folder: Path, count: int) -> Brokers:
    return Brokers(folder, dict.fromkeys(broker_names(count), 1))


def _has_data_of_one_broker(folder: Path) -> None:
    """As it was written when there was no other number."""
    (folder / "kafka" / "data").mkdir(parents=True)
    (folder / "kafka" / "data" / "meta.properties").write_text("")


def _has_data_of_three_brokers(folder: Path) -> None:
    (folder / "brokers.json").write_text(json.dumps({"count": 3, "cluster_id": "x"}))


def test_a_folder_keeps_its_number_of_brokers(tmp_path: Path) -> None:
    one, three, fresh = tmp_path / "one", tmp_path / "three", tmp_path / "fresh"
    for folder in (one, three, fresh):
        folder.mkdir()
    _has_data_of_one_broker(one)
    _has_data_of_three_brokers(three)
    for folder, count in ((one, 1), (three, 3), (fresh, 1), (fresh, 3)):
        _brokers(folder, count)
    with pytest.raises(UsageError, match=r"holds the data of --brokers 1, not 3: say the same"):
        _brokers(one, 3)
    with pytest.raises(UsageError, match=r"holds the data of --brokers 3, not 1: say the same"):
        _brokers(three, 1)


def test_two_brokers_are_refused() -> None:
    with pytest.raises(UsageError, match="--brokers 2: a local stack has one broker or three"):
        LocalStack(StackOptions(brokers=2), report=print)
