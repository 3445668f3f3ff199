"""Provider adapters: one chat completion over the openai SDK, classified when it fails."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import openai
from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAioHttpClient

from agents.clock import Clock
from agents.errors import execution_error
from agents.failures import Failure, HttpAnswer, classify_http, text_of
from agents.usage import Usage, read_usage
from schemas.intent import TraceContext
from schemas.vocabulary import FailureKind

__all__ = [
    "ChatReply",
    "ChatRequest",
    "Provider",
    "SdkProvider",
    "azure_provider",
    "openai_provider",
]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call: messages and parameters, with the identity it is sent under."""

    messages: list[dict[str, Any]]
    attempt_id: str
    attempt: int = 1
    model: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    response_schema: dict[str, Any] | None = None
    traceparent: str | None = None
    trace: TraceContext | None = None
    #: Seconds that are left for it; None = the provider's own time limit.
    within_s: float | None = None


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What came back; `usage` None when the provider did not say."""

    content: str
    served_model: str
    finish_reason: str
    usage: Usage | None
    request_id: str
    http_status: int = 200


class Provider(Protocol):
    """One place that serves chat completions."""

    @property
    def name(self) -> str:
        """What attempts, results and routes call it."""
        ...

    @property
    def kind(self) -> str:
        """`openai` or `azure`: how it is spoken to."""
        ...

    @property
    def deployment(self) -> str:
        """The Azure deployment; empty elsewhere."""
        ...

    @property
    def model(self) -> str:
        """The model (deployment) used when the intent names none."""
        ...

    @property
    def timeout_s(self) -> float:
        """The time limit of one call."""
        ...

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Make one call; raises ExecutionError."""
        ...

    async def close(self) -> None:
        """Give the connections back."""
        ...


class SdkProvider:
    """A provider behind the openai SDK; the SDK's own retries are off (one retry owner)."""

    def __init__(
        self,
        name: str,
        client: AsyncOpenAI,
        *,
        kind: str,
        model: str,
        deployment: str,
        timeout_s: float,
        clock: Clock,
    ) -> None:
        """Keep one client, whose connections all calls of the worker share."""
        self.name = name
        self.kind = kind
        self.model = model
        self.deployment = deployment
        self.timeout_s = timeout_s
        self._client = client
        self._clock = clock

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Make one call under the time limit, which cancels it for real; raises ExecutionError."""
        limit = self.timeout_s
        if request.within_s is not None:
            limit = min(limit, request.within_s)
        try:
            async with asyncio.timeout(limit):
                answer = await self._client.chat.completions.with_raw_response.create(
                    **self._arguments(request)
                )
            return _read_reply(answer.content, answer.headers.get("x-request-id", ""))
        except TimeoutError:
            failure = Failure(FailureKind.TIMEOUT, "timeout", f"no answer within {limit:g} s")
        except openai.APIStatusError as error:
            failure = classify_http(_answer_of(error), now=self._clock.now())
        except openai.APIConnectionError as error:
            # The SDK's own time limit is off, so its APITimeoutError is a lost connection too: its
            # aiohttp transport calls a reset that (measured).
            cause = type(error.__cause__ or error).__name__
            failure = Failure(FailureKind.CONNECTION, "connection", f"no connection ({cause})")
        except (openai.APIError, _UnreadableReplyError, OSError) as error:
            failure = Failure(
                FailureKind.BAD_OUTPUT,
                "unreadable_reply",
                f"the answer cannot be read ({type(error).__name__})",
                http_status=200,
            )
        raise execution_error(self.kind, failure, attempt=request.attempt, trace=request.trace)

    async def close(self) -> None:
        """Close the shared connections."""
        await self._client.close()

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        headers = {"X-Client-Request-Id": request.attempt_id}
        if request.traceparent:
            headers["traceparent"] = request.traceparent
        arguments: dict[str, Any] = {
            "model": request.model or self.model,
            "messages": request.messages,
            "extra_headers": headers,
        }
        if request.max_output_tokens is not None:
            arguments["max_completion_tokens"] = request.max_output_tokens
        if request.temperature is not None:
            arguments["temperature"] = request.temperature
        if request.response_schema is not None:
            arguments["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": request.response_schema},
            }
        return arguments


class _UnreadableReplyError(Exception):
    """Raised when a 200 is not a chat completion."""


def _read_reply(body: bytes, request_id: str) -> ChatReply:
    """Read a chat completion leniently: only what is used must be there."""
    try:
        document = json.loads(body)
        choice = document["choices"][0]
        content = choice["message"].get("content") or ""
        usage = document.get("usage")
        return ChatReply(
            content=str(content),
            served_model=str(document.get("model") or ""),
            finish_reason=str(choice.get("finish_reason") or ""),
            usage=read_usage(usage if isinstance(usage, Mapping) else None),
            request_id=text_of(request_id),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _UnreadableReplyError from error


def _answer_of(error: openai.APIStatusError) -> HttpAnswer:
    code = error.code or ""
    inner = error.body.get("innererror") if isinstance(error.body, dict) else None
    if isinstance(inner, dict) and inner.get("code") == "ResponsibleAIPolicyViolation":
        code = "content_filter"
    return HttpAnswer(
        status=error.status_code,
        headers={name.lower(): value for name, value in error.response.headers.items()},
        code=code,
        type=error.type or "",
    )


def openai_provider(
    name: str,
    *,
    api_key: str,
    base_url: str | None,
    model: str,
    timeout_s: float,
    concurrency: int,
    clock: Clock,
) -> SdkProvider:
    """Build a provider that speaks as OpenAI does; without `base_url` the SDK's own default."""
    client = AsyncOpenAI(
        api_key=api_key,
        base_url=base_url,
        max_retries=0,
        timeout=None,  # one owner of the time limit: `SdkProvider.complete`
        http_client=_shared_connections(concurrency),
    )
    return SdkProvider(
        name, client, kind="openai", model=model, deployment="", timeout_s=timeout_s, clock=clock
    )


def azure_provider(
    name: str,
    *,
    api_key: str,
    endpoint: str,
    api_version: str,
    deployment: str,
    timeout_s: float,
    concurrency: int,
    clock: Clock,
) -> SdkProvider:
    """Build a provider on Azure; the deployment's name stands in for the model's."""
    client = AsyncAzureOpenAI(
        api_key=api_key,
        azure_endpoint=endpoint,
        api_version=api_version,
        max_retries=0,
        timeout=None,  # one owner of the time limit: `SdkProvider.complete`
        http_client=_shared_connections(concurrency),
    )
    return SdkProvider(
        name,
        client,
        kind="azure",
        model=deployment,
        deployment=deployment,
        timeout_s=timeout_s,
        clock=clock,
    )


def _shared_connections(concurrency: int) -> Any:  # noqa: ANN401 - the SDK's own private type
    """One connection pool per provider, kept alive and as wide as the worker's concurrency."""
    import httpx2  # noqa: PLC0415 - the SDK's HTTP library, named only here

    limits = httpx2.Limits(
        max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=60
    )
    return DefaultAioHttpClient(limits=limits)
