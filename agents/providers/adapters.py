"""Provider adapters: one chat completion over the openai SDK, classified when it fails."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NotRequired, TypedDict

import openai
from openai import AsyncOpenAI

from agents.clock import Clock
from agents.deciding.failures import Failure, classify_http
from agents.pricing.prices import charge_of
from agents.providers.arguments import Dialect, Lessons, body_of, left_out, messages_of
from agents.providers.bodies import answer_of
from agents.providers.errors import execution_error
from agents.providers.inquiry import Finding, inquire
from agents.providers.rate_headers import rest_asked_for
from agents.providers.replies import (
    Bytes,
    ChatReply,
    StalledError,
    UnreadableReplyError,
    read_reply,
    read_stream,
)
from agents.providers.requests import ChatRequest, Provider, Transport
from agents.providers.time_limits import TimeLimits, TimeTable
from schemas.vocabulary import FailureKind

__all__ = [
    "ChatRequest",
    "Common",
    "Link",
    "Provider",
    "SdkProvider",
    "Transport",
]


@dataclass(frozen=True, slots=True)
class Link:
    """The way to a provider, and for whom its calls are."""

    headers: Mapping[str, str] = field(default_factory=dict)
    organization: str = ""
    project: str = ""
    #: Whether OPENAI_ORG_ID and OPENAI_PROJECT_ID are meant for it.
    from_environment: bool = False
    #: Certificates (PEM) that are believed; empty = the usual roots.
    ca_file: str = ""
    proxy: str | None = None


class Common(TypedDict):
    """What a provider of either kind is built with; `concurrency` bounds its connections."""

    api_key: str
    timeout_s: float
    concurrency: int
    clock: Clock
    transport: NotRequired[Transport]
    dialect: NotRequired[Dialect]
    link: NotRequired[Link]


class SdkProvider:
    """A provider behind the openai SDK; the SDK's own retries are off (one retry owner)."""

    def __init__(
        self,
        name: str,
        client: AsyncOpenAI,
        *,
        kind: str,
        model: str,
        deployment: str = "",
        common: Common,
    ) -> None:
        """Keep one client, whose connections all calls of the worker share."""
        self.name = name
        self.kind = kind
        self.model = model
        self.deployment = deployment
        transport = common.get("transport", Transport())
        own = TimeLimits(common["timeout_s"], transport.first_token_s, transport.idle_s)
        self._times = TimeTable(name, own, lines=transport.time_lines, fixed=transport.set_limits)
        self._client = client
        self._clock = common["clock"]
        self._transport = transport
        self._dialect = common.get("dialect", Dialect())
        self._lessons = Lessons()

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Make one call under the time limit, which cancels it for real; raises ExecutionError."""
        times = self._limits(request)
        limit = times.whole_s
        if request.within_s is not None:
            limit = min(limit, request.within_s)
        sent = self._request(request)
        try:
            async with asyncio.timeout(limit):
                reply = await self._reply(times, sent)
            asked, share = (
                sent["extra_body"].get("service_tier", ""),
                self._transport.low_tier_price,
            )
            charge = charge_of(served=reply.tier, asked=asked, share=share)
            dropped = left_out(request, self._dialect, self._lessons.of(sent["model"]))
            return replace(reply, charge=charge, dropped=dropped)
        except StalledError as error:
            failure = Failure(FailureKind.TIMEOUT, error.code, str(error))
        except TimeoutError:
            failure = Failure(FailureKind.TIMEOUT, "timeout", f"no answer within {limit:g} s")
        except UnreadableReplyError as error:
            failure = error.failure
        except Exception as error:  # noqa: BLE001 - whatever libraries raise, the call was made
            failure = self._failure_of(error, sent)
        raise execution_error(self.kind, failure, attempt=request.attempt, trace=request.trace)

    def limit_s(self, model: str | None) -> float:
        """Give the time limit of one call to a model, in seconds."""
        return self._times_of(model or self.model).whole_s

    def _limits(self, request: ChatRequest) -> TimeLimits:
        reasons = request.parameters.get("reasoning_effort", "none") not in {"none", "minimal"}
        return self._times_of(request.model or self.model, reasons=reasons)

    def _times_of(self, model: str, *, reasons: bool = False) -> TimeLimits:
        base = self._transport.bases.get(model, "")
        return self._times.of(model, base=base, reasons=reasons)

    async def inquire(self, models: Mapping[str, str], *, within_s: float) -> list[Finding]:
        """Ask what it knows of models (name → what it really is), by calls that cost nothing."""
        return await inquire(self._client, self.kind, models, within_s=within_s)

    async def close(self) -> None:
        """Close the shared connections."""
        await self._client.close()

    def _failure_of(self, error: Exception, sent: dict[str, Any]) -> Failure:
        """Classify what the SDK, or a library under it, raised."""
        now, cause = self._clock.now(), type(error.__cause__ or error).__name__
        if isinstance(error, openai.APIStatusError):
            answer = answer_of(error.status_code, error.response.headers, error.body)
            failure = classify_http(answer, now=now)
            if failure.kind is not FailureKind.UNSUPPORTED_PARAMETER:
                return failure
            names = {*sent["extra_body"], *sent.keys() & {"stream"}}
            if self._lessons.learn(sent["model"], answer.parameter, sent=names):
                return failure
            return replace(failure, kind=FailureKind.BAD_REQUEST)
        if isinstance(error, UnicodeEncodeError | RecursionError):
            message = f"the request cannot be written ({cause})"
            return Failure(FailureKind.BAD_REQUEST, "unwritable_request", message)
        # A lost connection, or an answer that breaks HTTP: nothing was read. The SDK's own time
        # limit is off, so its APITimeoutError is one too: its aiohttp transport calls a reset that.
        return Failure(FailureKind.CONNECTION, "connection", f"no connection ({cause})")

    def _request(self, request: ChatRequest) -> dict[str, Any]:
        """Give the arguments of a call, as this vendor and model take them."""
        model = request.model or self.model
        learnt = self._lessons.of(model)
        manners: dict[str, Any] = {}
        if request.low_priority and self._transport.low_tier:
            manners["service_tier"] = self._transport.low_tier
        stream = self._transport.stream and "stream" not in learnt
        if stream:
            manners["stream_options"] = {"include_usage": True}
        return {
            "model": model,
            "messages": messages_of(request, self._dialect, learnt),
            **({"stream": True} if stream else {}),
            "extra_headers": {"X-Client-Request-Id": request.attempt_id, **request.trace_headers},
            "extra_body": body_of(request, self._dialect, learnt, manners),
        }

    async def _reply(self, times: TimeLimits, sent: dict[str, Any]) -> ChatReply:
        """Send, and read the answer whole or as it comes."""
        create = self._client.chat.completions.with_raw_response.create
        if "stream" not in sent:
            answer = await create(**sent)
            number = answer.headers.get("x-request-id", "")
            reply = read_reply(answer.content, number, now=self._clock.now())
            return replace(reply, rest_s=rest_asked_for(answer.headers))

        async def opening() -> Bytes:
            answer = await create(**sent)
            body: Bytes = answer.http_response
            return body

        return await read_stream(
            opening(),
            first_s=times.first_s,
            idle_s=times.idle_s,
            now=self._clock.now(),
        )
