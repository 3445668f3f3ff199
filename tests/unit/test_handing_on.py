"""What one fetch brought goes on as few messages: each waits for its turn among all other work."""

from types import SimpleNamespace

from faust.types import TP

from streams.membership.handing_on import BATCH_RECORDS, batches


def record(topic: str, partition: int, offset: int) -> SimpleNamespace:
    return SimpleNamespace(topic=topic, partition=partition, offset=offset)


def test_a_record_in_each_of_many_partitions_is_one_message_a_topic() -> None:
    """A message for each partition kept records waiting for 300 ms at 200 intents a second."""
    fetched = {
        TP(topic, number): [record(topic, number, 7)]
        for number in range(12)
        for topic in ("intents", "urgent")
    }
    found = list(batches(fetched))
    assert [(tp.topic, len(records)) for tp, records in found] == [("intents", 12), ("urgent", 12)]
    assert all(one.topic == tp.topic for tp, records in found for one in records)


def test_a_partition_keeps_its_order_and_no_message_is_large() -> None:
    fetched = {TP("t", number): [record("t", number, n) for n in range(150)] for number in (3, 1)}
    found = list(batches(fetched))
    assert all(len(records) <= BATCH_RECORDS for _, records in found)
    handed = [one for _, records in found for one in records]
    for number in (1, 3):
        assert [one.offset for one in handed if one.partition == number] == list(range(150))


def test_nothing_is_nothing() -> None:
    assert list(batches({})) == []
