"""What a provider of either kind is built with, and the way to it."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NotRequired, TypedDict

from agents.clock import Clock
from agents.credentials.credentials import Credentials
from agents.providers.arguments import Dialect
from agents.providers.requests import Transport

__all__ = ["Common", "Link"]


@dataclass(frozen=True, slots=True)
class Link:
    """The way to a provider, and for whom its calls are."""

    headers: Mapping[str, str] = field(default_factory=dict)
    organization: str = ""
    project: str = ""
    #: Whether OPENAI_ORG_ID and OPENAI_PROJECT_ID are meant for it.
    from_environment: bool = False
    #: Whom TLS believes there, and the certificate that is shown; None = the usual roots, none.
    tls: ssl.SSLContext | None = None
    proxy: str | None = None


class Common(TypedDict):
    """What a provider of either kind is built with; `concurrency` bounds its connections."""

    #: A key that never changes, or who looks after several.
    api_key: str | Credentials
    timeout_s: float
    concurrency: int
    clock: Clock
    transport: NotRequired[Transport]
    dialect: NotRequired[Dialect]
    #: How it is asked: a name in `APIS`, `chat` without it.
    api: NotRequired[str]
    #: Its model for embeddings where an intent names none.
    embedding_model: NotRequired[str]
    #: Whether its answers are made in the background, and kept there.
    background: NotRequired[bool]
    #: Whether it answers batches, and at which share of the standard price.
    batch_price: NotRequired[Decimal]
    #: Header by which it knows a request again; none where it knows none.
    idempotency_header: NotRequired[str]
    link: NotRequired[Link]
