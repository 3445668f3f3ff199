"""Content at rest: sealed with a person's key, which is sealed with the tenant's; pure.

A record's content is encrypted with AES-256-GCM (NIST SP 800-38D) under a key of its person's own,
with a nonce of 96 bits by chance. What it is bound to (AAD): tenant, topic and intent id, so that
no sealed content can take another's place. The person's key stands on `workflow.keys`, encrypted
with the tenant's key, which is in a file of the operator's: without the file nothing can be read,
and without the record nothing of that person (ADR 26).
"""

import base64
import binascii
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ValidationError

from schemas.outcome import DeadLetter, SealedContent
from schemas.sealing import KeyRecord, Seal
from schemas.topics import Topics
from streams.messages.deferrals import deferral_of
from streams.messages.key_ring import KeyRing
from streams.messages.records import (
    BATCH_ANSWER_HEADER,
    INTENT_ID_HEADER,
    Incoming,
    OutRecord,
    header,
)
from streams.messages.sealed import SEAL_HEADER, UnreadableError

__all__ = ["Vault", "Whose"]

KEY_BYTES, NONCE_BYTES = 32, 12
#: A person gets a new key after so long; it is kept for as long as what it sealed (topics.keys).
ONE_KEYS_TIME_MS = 7 * 86_400_000
LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose content it is."""

    tenant: str
    user_id: str
    intent_id: str


@dataclass(frozen=True, slots=True)
class _DataKey:
    record: KeyRecord
    made_at_ms: int
    partition: int


class Vault:
    """Seals and opens content; knows the persons' keys that stand on the topic.

    A key of this process's own is used again only once it was read from there: it may not have
    been committed.
    """

    def __init__(
        self, topics: Topics, ring: KeyRing | None, *, chance: Callable[[int], bytes]
    ) -> None:
        """Without a key ring nothing is sealed, and what is sealed stays so."""
        self._topics = topics
        #: Whether new content is sealed.
        self.seals = ring is not None
        self._ring = ring or KeyRing({}, {})
        self._chance = chance
        self._known: dict[str, _DataKey] = {}
        #: Those that were destroyed: a topic that is read twice does not bring them back.
        self._gone: set[str] = set()
        #: Tenant and person → the newest of their keys.
        self._newest: dict[tuple[str, str], str] = {}

    def learn(self, name: str, value: bytes | None, *, partition: int = 0) -> bool:
        """Take a record of the topic of keys; gives whether a key that was known is gone.

        Raises ValidationError for what is none of ours.
        """
        if value is None:
            self._gone.add(name)
            gone = self._known.pop(name, None)
            if gone is not None:
                self._newest.pop((gone.record.tenant, gone.record.user_id), None)
            return gone is not None
        record = KeyRecord.model_validate_json(value)
        if name in self._gone:
            return False
        self._known[name] = known = _DataKey(
            record, round(record.made_at.timestamp() * 1000), partition
        )
        newest = self._known.get(self._newest.get((record.tenant, record.user_id), ""))
        if newest is None or newest.made_at_ms <= known.made_at_ms:
            self._newest[record.tenant, record.user_id] = name
        return False

    def forgetting(self, user_id: str, tenant: str | None = None) -> tuple[OutRecord, ...]:
        """Give the tombstones of a person's keys; of one tenant, or of all."""
        return tuple(
            OutRecord(self._topics.keys, name.encode(), None, partition=one.partition)
            for name, one in self._known.items()
            if one.record.user_id == user_id and tenant in {None, one.record.tenant}
        )

    # ── sealing ─────────────────────────────────────────────────────────────────────────────

    def sealed(
        self, records: Iterable[OutRecord], whose: Whose, *, lane: int, now_ms: int
    ) -> tuple[OutRecord, ...]:
        """Seal those of some records that hold content at rest; new keys go out with them."""
        records = tuple(records)
        if not self.seals or not any(self._holds_content(one) for one in records):
            return records
        name, key, made = self._key_for(whose, lane=lane, now_ms=now_ms)
        key_id = self._ring.written_with(whose.tenant)
        out = []
        for one in records:
            if not self._holds_content(one):
                out.append(one)
                continue
            seal = Seal(data_key=name, key_id=key_id, topic=one.topic)
            if one.topic == self._topics.dead_letters:
                out.append(self._sealed_letter(one, seal, key, whose))
                continue
            # A cached answer is nobody's intent's any more: it is bound to its request's name.
            bound = (
                (one.key or b"").decode() if one.topic == self._topics.cache else whose.intent_id
            )
            answer = header(one.headers, BATCH_ANSWER_HEADER) or b""
            headers = tuple(pair for pair in one.headers if pair[0] != BATCH_ANSWER_HEADER)
            value = self._encrypted(
                key, _framed(answer, one.value), _bound(whose.tenant, seal, bound)
            )
            out.append(replace(one, value=value, headers=(*headers, (SEAL_HEADER, seal.to_json()))))
        sealed = tuple(out)
        return sealed if sealed == records else (*sealed, *made)  # a key of nothing is none

    def _holds_content(self, record: OutRecord) -> bool:
        topics = self._topics
        at_rest = {*topics.deferred, topics.batches, topics.cache, topics.dead_letters}
        return record.value is not None and record.topic in at_rest

    def _key_for(
        self, whose: Whose, *, lane: int, now_ms: int
    ) -> tuple[str, bytes, tuple[OutRecord, ...]]:
        """Give the key for a person's new content, and its record where it is new."""
        key_id = self._ring.written_with(whose.tenant)
        name = self._newest.get((whose.tenant, whose.user_id))
        known = self._known.get(name or "")
        if name is not None and known is not None:
            young = now_ms - known.made_at_ms < ONE_KEYS_TIME_MS
            # Not with one whose tenant's key is to be given up, or is another by now.
            if young and known.record.key_id == key_id:
                with suppress(UnreadableError):
                    return name, self._unwrapped(name, known.record), ()
        name, key = self._chance(16).hex(), self._chance(KEY_BYTES)
        wrapping = self._ring.keys[key_id]
        wrapped = self._encrypted(wrapping, key, _of_key(name, whose.tenant, whose.user_id))
        record = KeyRecord(
            key_id=key_id,
            tenant=whose.tenant,
            user_id=whose.user_id,
            wrapped=base64.b64encode(wrapped).decode(),
            made_at=datetime.fromtimestamp(now_ms / 1000, UTC),
        )
        out = OutRecord(self._topics.keys, name.encode(), record.to_json(), partition=lane)
        return name, key, (out,)

    def _sealed_letter(self, record: OutRecord, seal: Seal, key: bytes, whose: Whose) -> OutRecord:
        letter = DeadLetter.model_validate_json(record.value or b"")
        if letter.by_reference:  # it holds none
            return record
        value, refusal = letter.original.value, letter.refusal
        content = _framed(
            (refusal or "").encode(), None if value is None else base64.b64decode(value)
        )
        text = self._encrypted(key, content, _bound(whose.tenant, seal, letter.intent_id))
        sealed = SealedContent(
            data_key=seal.data_key,
            key_id=seal.key_id,
            tenant=whose.tenant,
            content=base64.b64encode(text).decode(),
        )
        update = {
            "refusal": None,
            "original": letter.original.model_copy(update={"value": None}),
            "sealed": sealed,
        }
        return replace(record, value=letter.model_copy(update=update).to_json())

    def _encrypted(self, key: bytes, content: bytes, bound: bytes) -> bytes:
        nonce = self._chance(NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, content, bound)

    # ── opening ─────────────────────────────────────────────────────────────────────────────

    def opened(self, incoming: Incoming) -> Incoming:
        """Open a record; one that cannot be opened says why (`unreadable`), others stay as is."""
        raw = header(incoming.headers, SEAL_HEADER)
        if raw is None:
            return incoming
        try:
            seal = Seal.model_validate_json(raw)
        except ValidationError:
            return incoming  # somebody else's header
        try:
            answer, value = self._content(seal, incoming.value or b"", _intent_of(incoming))
        except UnreadableError as error:
            return replace(incoming, unreadable=error)
        kept = tuple(pair for pair in incoming.headers if pair[0] != SEAL_HEADER)
        more = ((BATCH_ANSWER_HEADER, answer),) if answer else ()
        return replace(incoming, value=value, headers=(*kept, *more), unreadable=None)

    def opened_value(self, key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]]) -> bytes:
        """Open the value of a record that is bound to its own key; raises UnreadableError."""
        raw = header(headers, SEAL_HEADER)
        if raw is None:
            return value
        content = self._content(Seal.model_validate_json(raw), value, key.decode())[1]
        return content or b""

    def opened_letter(self, letter: DeadLetter) -> DeadLetter:
        """Give a dead letter with its content; raises UnreadableError."""
        sealed = letter.sealed
        if sealed is None:
            return letter
        seal = Seal(data_key=sealed.data_key, key_id=sealed.key_id, topic=self._topics.dead_letters)
        try:
            content = base64.b64decode(sealed.content, validate=True)
        except (ValueError, binascii.Error):
            content = b""
        refusal, value = self._content(seal, content, letter.intent_id)
        text = None if value is None else base64.b64encode(value).decode()
        update = {
            "refusal": refusal.decode("utf-8", "replace") or None,
            "original": letter.original.model_copy(update={"value": text}),
            "sealed": None,
        }
        return letter.model_copy(update=update)

    def _content(self, seal: Seal, content: bytes, bound: str) -> tuple[bytes, bytes | None]:
        if seal.key_id not in self._ring.keys:
            raise UnreadableError.missing(seal.key_id)
        known = self._known.get(seal.data_key)
        if known is None:
            raise UnreadableError.forgotten()
        key = self._unwrapped(seal.data_key, known.record)
        try:
            plain = _decrypted(key, content, _bound(known.record.tenant, seal, bound))
        except InvalidTag:
            raise UnreadableError.altered() from None
        length = int.from_bytes(plain[:LENGTH_BYTES])
        beside, rest = plain[LENGTH_BYTES : LENGTH_BYTES + length], plain[LENGTH_BYTES + length :]
        return beside, rest[1:] if rest[:1] == b"\x01" else None

    def _unwrapped(self, name: str, record: KeyRecord) -> bytes:
        try:
            wrapping = self._ring.keys[record.key_id]
            wrapped = base64.b64decode(record.wrapped, validate=True)
            return _decrypted(wrapping, wrapped, _of_key(name, record.tenant, record.user_id))
        except (KeyError, ValueError, InvalidTag):
            raise UnreadableError.another(record.key_id) from None


def _intent_of(incoming: Incoming) -> str:
    """Give the id that an intent had when it was sealed; a replay brings it in its header."""
    deferral = deferral_of(incoming)
    if deferral is not None:
        return deferral.intent_id
    return (header(incoming.headers, INTENT_ID_HEADER) or b"").decode("utf-8", "replace")


def _framed(beside: bytes, value: bytes | None) -> bytes:
    present = b"" if value is None else b"\x01" + value
    return len(beside).to_bytes(LENGTH_BYTES) + beside + present


def _decrypted(key: bytes, text: bytes, bound: bytes) -> bytes:
    if len(text) < NONCE_BYTES:
        raise InvalidTag
    return AESGCM(key).decrypt(text[:NONCE_BYTES], text[NONCE_BYTES:], bound)


def _bound(tenant: str, seal: Seal, intent_id: str) -> bytes:
    """Name what sealed content belongs to; lengths make the name unique whatever signs it has."""
    return _named(tenant, seal.topic, intent_id)


def _of_key(name: str, tenant: str, user_id: str) -> bytes:
    return _named("key", name, tenant, user_id)


def _named(*parts: str) -> bytes:
    return "/".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass")
