"""Content at rest: the keys of persons (internal), and how a sealed record says what it is."""

from pydantic import Field

from schemas.base import Message, Timestamp

__all__ = ["KeyRecord", "Seal"]


class KeyRecord(Message):
    """A person's key (internal), by its id; a tombstone of it makes what it sealed unreadable."""

    key_id: str = Field(description="of the tenant's key that this one is encrypted with")
    tenant: str
    user_id: str = Field(default="", description="empty: whose it is could not be read")
    wrapped: str = Field(description="nonce and the key, encrypted: AES-256-GCM, base64")
    made_at: Timestamp


class Seal(Message):
    """How a record's content is encrypted, in the header `hybrid-seal`."""

    data_key: str = Field(description="id of the person's key")
    key_id: str = Field(description="of the tenant's key that opens that one")
    topic: str = Field(description="for which it was sealed")
