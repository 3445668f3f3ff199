"""The version of a record: who says it, who is refused, and what means nothing."""

import pytest

from schemas.versions import RECORD_VERSION, VERSION_HEADER, NewerRecordError, require_known
from streams.kafka.faults import FaultKind, kind_of, why_never
from streams.lanes.letters import public_headers
from streams.messages.identity import identify
from streams.messages.records import OutRecord
from tests.builders import an_incoming


@pytest.mark.parametrize("stated", [b"0", b"1", b"", b"two", b"-5", b"\xb2", b"9" * 40])
def test_what_we_know_and_what_is_none_of_ours_is_taken(stated: bytes) -> None:
    require_known("t", 3, 7, ((VERSION_HEADER, stated),))
    require_known("t", 3, 7, (("other", b"99"),))


def test_a_later_version_is_refused_by_one_sentence() -> None:
    later = str(RECORD_VERSION + 1).encode()
    with pytest.raises(NewerRecordError) as refused:
        require_known("workflow.ledger", 3, 7, ((VERSION_HEADER, later),))
    assert str(refused.value) == (
        "workflow.ledger has a record of version 2 (partition 3, offset 7), and this program reads "
        "versions up to 1: a later one of Hybrid Orchestrator wrote it; run that one"
    )
    assert kind_of(refused.value) is FaultKind.NEWER
    assert why_never(refused.value) == str(refused.value)


def test_what_is_written_says_it_once_and_it_counts_in_the_size() -> None:
    record = OutRecord("t", b"k", b"v", (("a", b"b"),))
    assert record.written_headers == [("a", b"b"), (VERSION_HEADER, b"1")]
    assert record.size == len("kvab") + len(VERSION_HEADER) + 1


def test_a_publishers_word_about_it_is_not_passed_on() -> None:
    headers = ((VERSION_HEADER, b"99"), ("mine", b"x"))
    incoming = an_incoming(b'{"type":"a","user_id":"u","data":{}}', headers=headers)
    passed = public_headers(incoming, identify(incoming, max_bytes=1000).who)
    assert VERSION_HEADER not in dict(passed)
    assert dict(passed)["mine"] == b"x"
