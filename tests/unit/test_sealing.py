"""Content at rest: who has both keys reads it, nobody else, and nothing takes another's place."""

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.task import Deferred, Failed
from hybrid.cli import _status
from schemas.events import DeferralState
from schemas.outcome import DeadLetter
from schemas.topics import Topics
from schemas.vocabulary import DeadLetterReason, ErrorClass, WorkflowStatus
from streams.lanes.admission import Admission, admit
from streams.lanes.ledger import Ledger
from streams.lanes.letters import dead_letter
from streams.lanes.outcome_records import outcome_records
from streams.messages.identity import identify
from streams.messages.key_ring import KeyFileError, KeyRing
from streams.messages.records import (
    BATCH_ANSWER_HEADER,
    DEFERRAL_HEADER,
    INTENT_ID_HEADER,
    REPLAY_COUNT_HEADER,
    Incoming,
    OutRecord,
)
from streams.messages.sealed import SEAL_HEADER, UnreadableError
from streams.messages.sealing import ONE_KEYS_TIME_MS, Vault, Whose
from tests.builders import NOW, NOW_MS, a_letter, a_task, an_incoming, an_intent

TOPICS = Topics("workflow", (10.0, 60.0), 86_400)
WAITS, BATCHES, CACHE, LETTERS = (
    TOPICS.deferred[0], TOPICS.batches, TOPICS.cache, TOPICS.dead_letters,
)  # fmt: skip
INTENT = b'{"type":"message_generation","user_id":"u-1","data":{"to":"anna@example.org"}}'
WHOSE = Whose("default", "u-1", "i-1")


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def ring(**files: str) -> KeyRing:
    return KeyRing.of({"default": f"k1 {key(1)}\n", **files})


def counting() -> Callable[[int], bytes]:
    """Chance that never gives the same twice."""
    count = 0

    def chance(size: int) -> bytes:
        nonlocal count
        count += 1
        return count.to_bytes(size)

    return chance


def vault(keys: KeyRing | None = None) -> Vault:
    return Vault(TOPICS, keys or ring(), chance=counting())


def state(intent_id: str = "i-1") -> bytes:
    return DeferralState(
        due_at_ms=NOW_MS, count=1, hop=1, reason="outage", intent_id=intent_id,
        source=a_task().source, limiter_ms=0, backoff_ms=0, provider_ms=0,
    ).to_json()  # fmt: skip


def put_off(topic: str = WAITS, *more: tuple[str, bytes]) -> OutRecord:
    return OutRecord(topic, b"k", INTENT, ((DEFERRAL_HEADER, state()), *more), partition=3)


def seal(one: Vault, record: OutRecord, whose: Whose = WHOSE, now_ms: int = NOW_MS) -> OutRecord:
    """Seal a record as a lane does; its new key is committed and read."""
    sealed, *made = one.sealed((record,), whose, lane=3, now_ms=now_ms)
    learn(one, *made)
    return sealed


def learn(one: Vault, *made: OutRecord) -> None:
    for record in made:
        assert (record.topic, record.partition) == (TOPICS.keys, 3)
        assert not one.learn((record.key or b"").decode(), record.value, partition=3)


def forget(one: Vault) -> None:
    for end in one.forgetting("u-1"):
        assert one.learn((end.key or b"").decode(), None, partition=3)


def read(record: OutRecord, **changes: Any) -> Incoming:
    return an_incoming(
        record.value, topic=record.topic, key=record.key, headers=record.headers, **changes
    )


def why(one: Vault, incoming: Incoming) -> UnreadableError:
    unreadable = one.opened(incoming).unreadable
    assert unreadable is not None
    return unreadable


def test_what_was_put_off_comes_back_byte_for_byte_and_stands_nowhere_meanwhile() -> None:
    one = vault()
    sealed = seal(one, put_off())
    assert b"anna" not in (sealed.value or b"")
    opened = one.opened(read(sealed))
    assert opened.value == INTENT
    assert opened.headers == put_off().headers
    assert one.opened(opened) is opened


def test_what_comes_back_from_a_batch_brings_its_answer_sealed_too() -> None:
    one = vault()
    sealed = seal(one, put_off(WAITS, (BATCH_ANSWER_HEADER, b"for anna")))
    assert not any(b"anna" in raw for _, raw in sealed.headers)
    assert (BATCH_ANSWER_HEADER, b"for anna") in one.opened(read(sealed)).headers
    assert one.opened(read(seal(one, put_off(BATCHES)))).value == INTENT


def test_tombstones_and_records_of_other_topics_stay_as_they_are() -> None:
    one = vault()
    others = (OutRecord(BATCHES, b"k", None), OutRecord(TOPICS.results, b"k", b"anna"))
    assert one.sealed(others, WHOSE, lane=3, now_ms=NOW_MS) == others
    beside = one.sealed((put_off(), *others), WHOSE, lane=3, now_ms=NOW_MS)
    assert beside[1:3] == others
    assert len(beside) == 4


def test_without_key_files_nothing_is_sealed_and_what_is_says_which_key_is_missing() -> None:
    bare, full = Vault(TOPICS, None, chance=counting()), vault()
    assert bare.sealed((put_off(),), WHOSE, lane=3, now_ms=NOW_MS) == (put_off(),)
    assert not bare.seals
    error = why(bare, read(seal(full, put_off())))
    assert (error.code, error.is_forgotten) == ("content_key_missing", False)
    assert "encrypted with key k1," in str(error)


def test_a_key_is_used_again_once_it_was_read_and_no_sooner() -> None:
    one = vault()
    first = one.sealed((put_off(),), WHOSE, lane=3, now_ms=NOW_MS)
    second = one.sealed((put_off(),), WHOSE, lane=3, now_ms=NOW_MS)
    assert len(first) == len(second) == 2  # the first one may not have been committed
    learn(one, first[1])
    assert len(one.sealed((put_off(),), WHOSE, lane=3, now_ms=NOW_MS)) == 1
    assert len(one.sealed((put_off(),), Whose("default", "u-2", "i"), lane=3, now_ms=NOW_MS)) == 2
    assert len(one.sealed((put_off(),), Whose("t", "u-1", "i"), lane=3, now_ms=NOW_MS)) == 2
    later = NOW_MS + ONE_KEYS_TIME_MS
    assert len(one.sealed((put_off(),), WHOSE, lane=3, now_ms=later)) == 2


def test_the_newest_key_of_a_person_is_the_one_that_is_written_with() -> None:
    one = vault()
    old = one.sealed((put_off(),), WHOSE, lane=3, now_ms=NOW_MS - 1000)
    new = one.sealed((put_off(),), WHOSE, lane=3, now_ms=NOW_MS)
    learn(one, new[1], old[1])
    (sealed,) = one.sealed((put_off(),), WHOSE, lane=3, now_ms=NOW_MS)
    assert (new[1].key or b"?") in dict(sealed.headers)[SEAL_HEADER]
    assert one.opened(read(old[0])).value == one.opened(read(new[0])).value == INTENT


def test_after_a_rotation_old_records_are_read_and_new_ones_have_the_new_key() -> None:
    before = vault()
    sealed, made = before.sealed((put_off(),), WHOSE, lane=3, now_ms=NOW_MS)
    after = vault(KeyRing.of({"default": f"# newest first\nk2 {key(2)}\n\nk1 {key(1)}\n"}))
    learn(after, made)
    assert after.opened(read(sealed)).value == INTENT
    fresh = after.sealed((put_off(),), WHOSE, lane=3, now_ms=NOW_MS)
    assert b'"key_id":"k2"' in (fresh[1].value or b"")
    learn(after, *fresh[1:])
    without = vault(KeyRing.of({"default": f"k2 {key(2)}\n"}))
    learn(without, made, *fresh[1:])
    assert without.opened(read(fresh[0])).value == INTENT
    assert "encrypted with key k1," in str(why(without, read(sealed)))


def test_a_tenant_has_its_own_key_where_it_has_a_file() -> None:
    one = vault(ring(acme=f"a1 {key(3)}"))
    for tenant, name in (("acme", b"a1"), ("other", b"k1")):
        sealed = seal(one, put_off(), Whose(tenant, "u", "i-1"))
        assert b'"key_id":"' + name in dict(sealed.headers)[SEAL_HEADER]
        assert one.opened(read(sealed)).value == INTENT


def test_another_key_under_the_same_id_opens_nothing_and_seals_with_a_key_of_its_own() -> None:
    one, two = vault(), vault(KeyRing.of({"default": f"k1 {key(9)}"}))
    sealed, made = one.sealed((put_off(),), WHOSE, lane=3, now_ms=NOW_MS)
    learn(two, made)
    assert "is not the one that was written with" in str(why(two, read(sealed)))
    fresh = two.sealed((put_off(),), WHOSE, lane=3, now_ms=NOW_MS)
    assert len(fresh) == 2


def test_a_forgotten_persons_content_is_gone_and_everybody_elses_is_not() -> None:
    one = vault()
    mine, yours = seal(one, put_off()), seal(one, put_off(), Whose("default", "u-2", "i-1"))
    assert one.forgetting("u-1") == one.forgetting("u-1", "default") != ()
    assert one.forgetting("u-1", "acme") == ()
    assert {(end.value, end.partition) for end in one.forgetting("u-1")} == {(None, 3)}
    forget(one)
    assert not one.learn("unknown", None)
    error = why(one, read(mine))
    assert error.is_forgotten
    assert "content forgotten" in str(error)
    assert one.opened(read(yours)).value == INTENT
    assert len(one.sealed((put_off(),), WHOSE, lane=3, now_ms=NOW_MS)) == 2  # a new life


def test_nothing_that_was_sealed_can_take_anothers_place_or_be_changed() -> None:
    one = vault()
    sealed = seal(one, put_off())
    value = sealed.value or b""
    wrong: list[Incoming] = [
        read(replace(sealed, value=value[:-1] + bytes([value[-1] ^ 1]))),
        read(replace(sealed, value=b"short")),
        read(replace(sealed, value=None)),
        # Of another intent, or with the seal of another topic.
        read(replace(sealed, headers=((DEFERRAL_HEADER, state("i-2")), sealed.headers[1]))),
        read(
            replace(
                sealed,
                headers=(
                    sealed.headers[0],
                    (SEAL_HEADER, sealed.headers[1][1].replace(b".10s", b".60s")),
                ),
            )
        ),
    ]
    for incoming in wrong:
        assert why(one, incoming).code == "content_altered"


def test_a_header_of_somebody_else_is_no_seal() -> None:
    incoming = an_incoming(INTENT, headers=((SEAL_HEADER, b"mine"),))
    assert vault().opened(incoming) is incoming


def test_a_cached_answer_is_bound_to_its_request() -> None:
    one = vault()
    sealed = seal(one, OutRecord(CACHE, b"request", b'{"content":"anna"}'))
    assert b"anna" not in (sealed.value or b"")
    opened = one.opened_value(b"request", sealed.value or b"", sealed.headers)
    assert opened == b'{"content":"anna"}'
    assert one.opened_value(b"k", b"plain", ()) == b"plain"
    with pytest.raises(UnreadableError, match="changed, or moved"):
        one.opened_value(b"another", sealed.value or b"", sealed.headers)


@pytest.mark.parametrize("value", [base64.b64encode(INTENT).decode(), None, ""])
@pytest.mark.parametrize("refusal", ["I will not write to anna", None])
def test_a_dead_letter_holds_no_content_and_gives_it_back(
    value: str | None, refusal: str | None
) -> None:
    one = vault()
    letter = a_letter(original={"key": "aw==", "value": value}, refusal=refusal)
    record = seal(one, OutRecord(LETTERS, b"i-1", letter.to_json()))
    sealed = DeadLetter.model_validate_json(record.value or b"")
    assert sealed.original.value is None
    assert sealed.refusal is None
    assert sealed.is_without_content
    assert one.opened_letter(sealed) == letter
    assert one.opened_letter(letter) is letter
    assert sealed.sealed is not None
    for content in ("no base64", "AAAA"):
        other = sealed.sealed.model_copy(update={"content": content})
        with pytest.raises(UnreadableError, match="changed, or moved"):
            one.opened_letter(sealed.model_copy(update={"sealed": other}))
    moved = sealed.model_copy(update={"intent_id": "i-2"})
    with pytest.raises(UnreadableError, match="changed, or moved"):
        one.opened_letter(moved)


def test_what_cannot_be_opened_ends_as_a_dead_letter_that_a_replay_runs_once_it_can() -> None:
    full, bare = vault(), Vault(TOPICS, None, chance=counting())
    incoming = bare.opened(read(seal(full, put_off())))
    found = identify(incoming, max_bytes=1_000)
    assert found.who.intent is None
    assert found.who.intent_id == "i-1"
    assert found.failed is not None
    assert found.failed.reason is DeadLetterReason.INTERNAL
    assert found.failed.code == "content_key_missing"
    assert found.failed.retriable
    # Also where dead letters are by reference: what stands at its source goes sooner.
    letter = dead_letter(incoming, found.who, found.failed, "d", now=NOW, by_reference=True)
    assert not letter.is_without_content
    replayed = an_incoming(
        base64.b64decode(letter.original.value or ""),
        headers=(
            *((name, base64.b64decode(raw)) for name, raw in letter.original.headers),
            (INTENT_ID_HEADER, b"i-1"),
        ),
    )
    assert full.opened(replayed).value == INTENT


def test_what_could_not_be_opened_has_ended_in_the_ledger_and_its_replay_runs() -> None:
    full, bare, incoming = vault(), Vault(TOPICS, None, chance=counting()), an_incoming(INTENT)
    who = identify(incoming, max_bytes=1_000).who
    before = DeferralState.model_validate_json(state())
    decided = outcome_records(
        TOPICS, incoming, who, Deferred(0, before), lane=3, outcome_id="o", worker="w", group="g",
        now=NOW,
    )  # fmt: skip
    (record,) = [one for one in decided.records if one.topic in TOPICS.deferred]
    ledger = Ledger(sources=TOPICS.sources, window_ms=10_000)
    ledger.put(who.key, decided.ledger)
    sealed = bare.opened(read(seal(full, record)))
    ended = identify(sealed, max_bytes=1_000).who
    assert admit(ledger, ended, sealed, TOPICS, now_ms=NOW_MS) is Admission.RUN
    failed = {"status": WorkflowStatus.FAILED, "deferrals": 0}
    ledger.put(ended.key, decided.ledger.model_copy(update=failed))
    assert admit(ledger, ended, sealed, TOPICS, now_ms=NOW_MS) is Admission.DONE, "once"
    again = an_incoming(INTENT, offset=99, headers=((REPLAY_COUNT_HEADER, b"1"),))
    replayed = identify(again, max_bytes=1_000).who
    assert admit(ledger, replayed, again, TOPICS, now_ms=NOW_MS) is Admission.RUN


def test_a_forgotten_persons_work_ends_for_good() -> None:
    one = vault()
    sealed = seal(one, put_off())
    forget(one)
    found = identify(one.opened(read(sealed)), max_bytes=1_000)
    assert found.failed is not None
    assert found.failed.reason is DeadLetterReason.CANCELLED
    assert not found.failed.retriable
    bare = identify(replace(one.opened(read(sealed)), headers=()), max_bytes=1_000)
    assert bare.failed is not None
    assert bare.failed.code == "content_forgotten"


def test_a_dead_letter_by_reference_says_where_and_nothing_more() -> None:
    incoming = an_incoming(INTENT)
    failed = Failed(
        DeadLetterReason.REJECTED, ErrorClass.VALIDATION, "c", "m", retriable=True,
        suggested_action="a", refusal="no, anna",
    )  # fmt: skip
    who = identify(incoming, max_bytes=1_000).who
    letter = dead_letter(incoming, who, failed, "d", now=NOW, by_reference=True)
    assert b"anna" not in letter.to_json()
    assert letter.original.value is None
    assert letter.is_without_content
    assert (letter.source.topic, letter.source.offset) == (incoming.topic, incoming.offset)
    record = OutRecord(LETTERS, b"k", letter.to_json())
    assert vault().sealed((record,), WHOSE, lane=3, now_ms=NOW_MS) == (record,), "and no key"
    whole = dead_letter(incoming, who, failed, "d", now=NOW)
    assert not whole.is_without_content
    assert whole.refusal == "no, anna"


@given(
    tenant=st.text(max_size=8), user=st.text(max_size=8), value=st.binary(max_size=64),
    answer=st.binary(max_size=16),
)  # fmt: skip
def test_whatever_is_sealed_is_what_is_opened(
    tenant: str, user: str, value: bytes, answer: bytes
) -> None:
    one = vault()
    record = replace(put_off(WAITS, (BATCH_ANSWER_HEADER, answer)), value=value)
    opened = one.opened(read(seal(one, record, Whose(tenant, user, "i-1"))))
    assert opened.value == value
    assert dict(opened.headers).get(BATCH_ANSWER_HEADER, b"") == answer


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "there is no key file default"),
        ({"default": "# none\n"}, "key file default has no key"),
        ({"default": "k1"}, "line 1: must be `KEYID base64-of-32-bytes`"),
        ({"default": "k1 %%%"}, "line 1: must be `KEYID base64-of-32-bytes`"),
        ({"default": f"k/1 {key(1)}"}, "an id of letters"),
        ({"default": "k1 AAAA"}, "32 bytes in base64"),
        ({"default": f"k1 {key(1)}\nk1 {key(2)}"}, "line 2: key id k1 is there twice"),
        ({"default": f"k1 {key(1)}", "acme": f"k1 {key(2)}"}, "key file acme, line 1: key id k1"),
    ],
)
def test_key_files_that_are_wrong_are_refused_in_one_sentence_without_a_key(
    files: dict[str, str], said: str
) -> None:
    with pytest.raises(KeyFileError, match=re.escape(said)) as error:
        KeyRing.of(files)
    assert key(1) not in str(error.value)
    assert _status(error.value) == 2  # whichever command meets it
    assert an_intent().tenant == "default"  # whom the file of that name serves too
