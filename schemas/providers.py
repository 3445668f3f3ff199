"""Providers and routes: the `[[providers]]` and `[[routes]]` tables of hybrid.toml."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from schemas.credentials import KeyedTable, Name
from schemas.tables import Table
from schemas.vocabulary import Priority

__all__ = ["ProviderSpec", "RouteSpec", "TimeLimitSpec"]

HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_|~-]+"
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+")]


class ProviderSpec(KeyedTable):
    """One place that serves chat completions."""

    api: Literal["chat", "responses"] = "chat"
    """Which of its APIs is asked: chat completions, or Responses (where nothing is stored unless an
    intent's `parameters` say `store`; an answer is at least 16 tokens long there)."""
    background: bool = False
    """Whether answers are made in the background and kept by the provider until they are fetched
    (api responses): the next owner of a dead worker's call fetches its answer and pays once. They
    are stored there, unless `extra_body` says `store = false`: then for some ten minutes."""
    idempotency_header: str = ""
    """Header by which the provider knows a background request that it has had, such as
    `Idempotency-Key`: a request of which nothing was heard is made again under the same key and
    finds its answer. OpenAI has none."""
    batch: bool = False
    """Whether intents that may wait are answered in its batches (`/files`, `/batches`), at
    `batch_price`; not at Azure, and not with `background`."""
    batch_price: float = Field(default=0.5, gt=0, le=1)
    """What a batch's line costs, as a share of the standard price, where neither `[[prices]]` nor
    the public list has a price of tier `batch`. OpenAI: half
    (https://developers.openai.com/api/docs/guides/batch)."""
    batch_tokens: int | None = Field(default=None, ge=1)
    """Tokens of prompts that wait in batches of one model there at most, which OpenAI calls the
    batch queue limit; without it as many as come, and a batch that is refused for it is made
    again later."""
    base_url: Url | None = None
    """Base URL (kind openai: without it the SDK's own; openai-compatible: needed)."""
    endpoint: Url | None = None
    """Endpoint (kind azure): the resource's address, with or without `/openai/v1/` at its end."""
    api_version: str = ""
    """Kind azure: a dated version, such as `2024-10-21`, asks the older API, with the deployment in
    the path; without it, or with `v1`, Azure's v1 API is asked, which has no versions."""
    deployment: str = ""
    """Deployment (kind azure)."""
    model: str = ""
    """Model where the intent names none (not azure: there the deployment stands for it)."""
    embedding_model: str = ""
    """Model, at Azure the deployment, of intents with `task = "embedding"` that name none; without
    it these are not sent there."""
    base_model: str = ""
    """The model that the deployment, or a model's alias, really is: for its price where an answer
    does not name it, and for bounds before there is one."""
    free: bool = False
    """Whether its calls cost nothing (your own server); without it, and without `[[prices]]`, calls
    of a server that is no known vendor's cost NULL."""
    max_output_tokens: int | None = Field(default=None, ge=1)
    """Tokens that its model writes in one answer at most, where it is not one of the known ones."""
    timeout: float = Field(default=30.0, gt=0, le=3600)
    """Seconds for one attempt; more for models that reason, unless it is set."""
    stream: bool = False
    """Whether answers are streamed, so that a call that is stuck is seen after seconds."""
    first_token_timeout: float = Field(default=10.0, gt=0, le=3600)
    """Seconds until the first content of a streamed answer; more for models that reason, unless it
    is set."""
    idle_timeout: float = Field(default=5.0, gt=0, le=3600)
    """Seconds that a streamed answer may pause; more for models that reason, unless it is set."""
    low_tier: str = ""
    """Service tier for intents of priority low, such as `flex`; none = the standard one."""
    low_tier_price: float = Field(default=0.5, gt=0, le=1)
    """What that tier costs, as a share of the standard price."""
    max_tokens_field: Literal["max_completion_tokens", "max_tokens", ""] = ""
    """Name of the limit of an answer's length; without it as the vendor at that address has it."""
    drop: tuple[str, ...] = ()
    """Parameters that are never sent there, such as `seed`, `stream_options`."""
    structured: Literal["strict", "schema", "object", "none", ""] = ""
    """How a response_schema is sent: with or without strict, as json_object with the schema in the
    instructions, or in the instructions only; without it as the vendor has it."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Sent in the body of every request, over everything else."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Sent with every request."""
    organization: str = ""
    """OpenAI organization; the SDK's variable for it holds for OpenAI's own address only."""
    project: str = ""
    """OpenAI project; the SDK's variable for it holds for OpenAI's own address only."""
    ca_file: str = ""
    """File of certificates (PEM) that are believed there, beside no others."""
    proxy: Url | None = None
    """HTTP proxy on the way; without it what HTTPS_PROXY and the like say."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Calls a minute, over all workers; without it no limit but what its 429s teach."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """Tokens a minute, over all workers."""
    in_flight: int | None = Field(default=None, ge=1)
    """Calls at the same time, over all workers."""

    @field_validator("idempotency_header")
    @classmethod
    def _a_header(cls, value: str) -> str:
        """Refuse what is no header's name."""
        if value and not re.fullmatch(HEADER_NAME, value):
            message = f"{value} is no header that can be sent: names are plain ASCII"
            raise ValueError(message)
        return value

    @field_validator("headers")
    @classmethod
    def _writable(cls, value: dict[str, str]) -> dict[str, str]:
        """Refuse what breaks HTTP."""
        for name, text in value.items():
            if not re.fullmatch(HEADER_NAME, name) or not re.fullmatch(r"[\x20-\x7e]*", text):
                message = f"{name} is no header that can be sent: names and values are plain ASCII"
                raise ValueError(message)
        return value

    @property
    def own_model(self) -> str:
        """The model, at Azure the deployment, that is called where the intent names none."""
        return self.deployment or self.model

    @property
    def set_limits(self) -> frozenset[str]:
        """Time limits that were set, and are not their default: these hold for every model."""
        names = {"timeout", "first_token_timeout", "idle_timeout"}
        return frozenset(names & self.model_fields_set)

    @model_validator(mode="after")
    def _complete(self) -> "ProviderSpec":
        """Refuse what cannot be called."""
        needed = {
            "openai": ("model",),
            "azure": ("endpoint", "deployment"),
            "openai-compatible": ("base_url", "model"),
        }[self.kind]
        missing = [field for field in needed if not getattr(self, field)]
        if self.kind != "openai-compatible" and self.auth == "key" and not self.wants_key:
            missing.append("key_variable (or key_file, or auth)")
        if missing:
            message = f"provider {self.name} of kind {self.kind} needs {', '.join(missing)}"
            raise ValueError(message)
        self._check_background()
        return self

    def _check_background(self) -> None:
        """Refuse what goes with background responses only, or not with them."""
        if self.background and self.api != "responses":
            message = f'provider {self.name}: background needs api = "responses"'
            raise ValueError(message)
        if self.background and self.stream:
            message = f"provider {self.name}: background responses are not streamed; drop one"
            raise ValueError(message)
        if self.batch and (self.background or self.kind == "azure"):
            message = f"provider {self.name}: batch goes neither with background nor at Azure"
            raise ValueError(message)
        if self.batch_tokens is not None and not self.batch:
            message = f"provider {self.name}: batch_tokens goes with batch = true"
            raise ValueError(message)
        if self.idempotency_header and not self.background:
            message = f"provider {self.name}: idempotency_header goes with background = true"
            raise ValueError(message)


class TimeLimitSpec(Table):
    """Time limits of some models; what is left out is as without the line."""

    model: str = Field(min_length=1)
    """Model or deployment, `*` for any characters: `gpt-5*`, `my-deployment`."""
    provider: str = ""
    """Only at this provider; none = at all."""
    timeout: float | None = Field(default=None, gt=0, le=7200)
    """Seconds for one attempt."""
    first_token_timeout: float | None = Field(default=None, gt=0, le=7200)
    """Seconds until the first content of a streamed answer."""
    idle_timeout: float | None = Field(default=None, gt=0, le=7200)
    """Seconds that a streamed answer may pause."""


class RouteSpec(Table):
    """Which providers serve an intent, first choice first; the first route that fits is taken."""

    providers: tuple[Name, ...] = Field(min_length=1)
    """Names of providers; each is visited once."""
    types: tuple[str, ...] = ()
    """Intent types; none = any."""
    priorities: tuple[Priority, ...] = ()
    """Priorities; none = any."""
    requires_multi_platform: bool | None = None
    """Only intents with, or without, this flag; none = any."""
