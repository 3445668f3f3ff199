"""Provider adapters: one call over the openai SDK's client, classified when it fails."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import httpx2
import openai

from agents.credentials.credentials import Credentials, Grant
from agents.credentials.sources import SecretError
from agents.deciding.failures import Failure, KeyNote, classify_http, text_of
from agents.pricing.prices import charge_of
from agents.providers.apis import APIS, EMBEDDINGS, Api
from agents.providers.arguments import Dialect, Lessons, Manner
from agents.providers.asked import Asked, within
from agents.providers.batching import Batching
from agents.providers.bodies import answer_of, fields_of
from agents.providers.common import Common, Link
from agents.providers.errors import ExecutionError, execution_error
from agents.providers.inquiry import Finding, inquire
from agents.providers.keeping import Keeper, Keeping, NotKeptError
from agents.providers.rate_headers import rest_asked_for
from agents.providers.replies import (
    ChatReply,
    StalledError,
    UnreadableReplyError,
    read_reply,
    read_stream,
)
from agents.providers.requests import ChatRequest, Provider, Transport
from agents.providers.straight import Answer
from agents.providers.time_limits import TimeLimits, TimeTable
from agents.providers.wire import UnwritableRequestError, Wire, encoded
from schemas.vocabulary import FailureKind

__all__ = ["ChatRequest", "Common", "Link", "Provider", "SdkProvider", "Transport"]


class SdkProvider:
    """A provider behind the openai SDK; the SDK's own retries are off (one retry owner)."""

    #: Where its answers are kept, for those who would rather fetch one than pay again.
    keeping: Keeping | None = None
    batching: Batching | None = None  # where batches are made

    def __init__(
        self,
        name: str,
        wire: Wire,
        *,
        kind: str,
        model: str,
        deployment: str = "",
        credentials: Credentials,
        common: Common,
    ) -> None:
        """Keep the way there, which all calls of the worker share, and the keys of it."""
        self.credentials = credentials
        self.name = name
        self.kind = kind
        self.model = model
        self.deployment = deployment
        self.embedding_model = common.get("embedding_model", "")
        transport = common.get("transport", Transport())
        own = TimeLimits(common["timeout_s"], transport.first_token_s, transport.idle_s)
        self._times = TimeTable(name, own, lines=transport.time_lines, fixed=transport.set_limits)
        self._wire = wire
        self._api: Api = APIS[common.get("api", "chat")]
        self._clock = common["clock"]
        self._transport = transport
        self._dialect = common.get("dialect", Dialect())
        self._lessons = Lessons()

    async def complete(self, request: ChatRequest, keeper: Keeper | None = None) -> ChatReply:
        """Make one call with one of the keys, and note what its end says of it.

        Raises ExecutionError, and NotKeptError where `keeper` raises anything.
        """
        try:
            async with within(request.within_s):
                grant = await self.credentials.take()
        except SecretError:
            failure = Failure(FailureKind.AUTH, "no_credential", "there is no key or token for it")
            raise self._error(failure, request) from None
        except TimeoutError:
            failure = Failure(FailureKind.TIMEOUT, "timeout", "no key or token came in time")
            raise self._error(failure, request) from None
        try:
            reply = await self._call(request, grant, keeper)
        except ExecutionError as error:
            failure = await self._looked_up(grant, error.failure)
            raise self._error(failure, request) from error.__cause__
        except BaseException:
            self.credentials.cancelled(grant)
            raise
        rest_s = self.credentials.answered(grant, rest_s=reply.rest_s)
        return reply if rest_s == reply.rest_s else replace(reply, rest_s=rest_s)

    async def _looked_up(self, grant: Grant, failure: Failure) -> Failure:
        """Say with a failure whether it was the key's, and when another one may be asked."""
        asked = failure.retry_after_ms
        refusal = await self.credentials.refused(
            grant, failure.kind, retry_after_s=None if asked is None else asked / 1000
        )
        if refusal is None:
            return failure
        another, wait = refusal.another_s, refusal.wait_s
        note = KeyNote(
            refusal.label, refusal.keys, None if another is None else round(another * 1000)
        )
        retry_after_ms = asked if wait is None else round(wait * 1000)
        return replace(failure, key=note, retry_after_ms=retry_after_ms)

    def _error(self, failure: Failure, request: ChatRequest) -> ExecutionError:
        return execution_error(self.kind, failure, attempt=request.attempt, trace=request.trace)

    async def _call(self, request: ChatRequest, grant: Grant, keeper: Keeper | None) -> ChatReply:
        """Make one call under the time limit, which cancels it for real; raises ExecutionError."""
        times = self._limits(request)
        limit = times.whole_s
        if request.within_s is not None:
            limit = min(limit, request.within_s)
        manner = self._manner(request)
        api, body = self._api_of(request), dict[str, Any]()
        try:
            body = api.body(request, manner)
            written = encoded(body)
            asked = Asked(request, grant, manner, written, times, limit, keeper)
            return self._told(*await self._reply(asked), request, manner, body)
        except StalledError as error:
            failure = Failure(FailureKind.TIMEOUT, error.code, str(error))
        except TimeoutError:
            failure = Failure(FailureKind.TIMEOUT, "timeout", f"no answer within {limit:g} s")
        except UnreadableReplyError as error:
            failure = error.failure
        except NotKeptError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever libraries raise, the call was made
            failure = self._failure_of(error, manner.model, sent=api.parameters(body))
        raise self._error(failure, request)

    def _told(
        self,
        reply: ChatReply,
        number: str,
        rest_s: float,
        request: ChatRequest,
        manner: Manner,
        body: Mapping[str, Any],
    ) -> ChatReply:
        """Say with a reply its id, in which tier it is charged, and what its request left out."""
        asked, share = body.get("service_tier", ""), self._transport.low_tier_price
        charge = charge_of(served=reply.tier, asked=asked, share=share)
        # What was refused meanwhile, to a call beside this one, was not sent either way.
        dropped = self._api_of(request).left_out(request, manner)
        return replace(reply, request_id=number, rest_s=rest_s, charge=charge, dropped=dropped)

    def limit_s(self, model: str | None) -> float:
        """Give the time limit of one call to a model, in seconds."""
        return self._times_of(model or self.model).whole_s

    def _limits(self, request: ChatRequest) -> TimeLimits:
        own = fields_of(request.parameters.get("reasoning")).get("effort", "none")
        reasons = request.parameters.get("reasoning_effort", own) not in {"none", "minimal"}
        return self._times_of(request.model or self.model, reasons=reasons)

    def _times_of(self, model: str, *, reasons: bool = False) -> TimeLimits:
        base = self._transport.bases.get(model, "")
        return self._times.of(model, base=base, reasons=reasons)

    @property
    def keys(self) -> tuple[str, ...]:
        """What the log calls each of its keys; never a key."""
        return self.credentials.labels

    @property
    def usable_keys(self) -> int:
        """How many of them are usable, as far as is known."""
        return self.credentials.usable

    async def inquire(
        self, models: Mapping[str, str], *, within_s: float, key: int = 0
    ) -> list[Finding]:
        """Ask what it knows of models (name → what it really is), by calls that cost nothing.

        `key`: with which of its keys, whose health it does not change. Raises SecretError where
        there is none to ask with.
        """
        headers = await self.credentials.headers(key)
        client = self._wire.client
        return await inquire(client, self.kind, models, headers=headers, within_s=within_s)

    async def close(self) -> None:
        """Close the shared connections."""
        self.credentials.close()
        await self._wire.close()

    def _failure_of(self, error: Exception, model: str, *, sent: Collection[str]) -> Failure:
        """Classify what the SDK, or a library under it, raised."""
        now, cause = self._clock.now(), type(error.__cause__ or error).__name__
        if isinstance(error, openai.APIStatusError):
            answer = answer_of(error.status_code, error.response.headers, error.body)
            failure = classify_http(answer, now=now)
            if failure.kind is not FailureKind.UNSUPPORTED_PARAMETER:
                return failure
            if self._lessons.learn(model, answer.parameter, sent=sent):
                return failure
            return replace(failure, kind=FailureKind.BAD_REQUEST)
        if isinstance(error, UnwritableRequestError) or not sent:  # there was nothing to send
            message = f"the request cannot be written ({cause})"
            return Failure(FailureKind.BAD_REQUEST, "unwritable_request", message)
        # A lost connection, or an answer that breaks HTTP: nothing was read. The SDK's own time
        # limit is off, so its APITimeoutError is one too: its aiohttp transport calls a reset that.
        return Failure(FailureKind.CONNECTION, "connection", f"no connection ({cause})")

    def _api_of(self, request: ChatRequest) -> Api:
        return EMBEDDINGS if request.embeds else self._api

    def _manner(self, request: ChatRequest) -> Manner:
        """Tell how a call is made, as this vendor and model take it; vectors come whole."""
        model = request.model or (self.embedding_model if request.embeds else self.model)
        learnt, words = self._lessons.of(model), not request.embeds
        return Manner(
            model,
            self._dialect,
            learnt,
            stream=self._transport.stream and words and "stream" not in learnt,
            tier=self._transport.low_tier if request.low_priority and words else "",
        )

    @staticmethod
    def _headers(request: ChatRequest, auth: Mapping[str, str]) -> dict[str, str]:
        return {"X-Client-Request-Id": request.attempt_id, **request.trace_headers, **auth}

    async def _reply(self, asked: Asked) -> tuple[ChatReply, str, float]:
        """Send, and read the answer whole or as it comes; raises TimeoutError at the limit.

        Gives the provider's id of it too, and for how many seconds it wants no further call.
        """
        manner, times = asked.manner, asked.times
        headers = self._headers(asked.request, asked.grant.headers)
        api = self._api_of(asked.request)
        post = partial(self._wire.post, api.path, asked.body, headers, model=manner.model)
        whole = api.assembly(self._clock.now())
        came: Mapping[str, str] = {}

        async def opened() -> Answer | httpx2.Response:
            nonlocal came
            answer = await post(stream=manner.stream)
            came = answer.headers
            return answer

        async with asyncio.timeout(asked.limit_s):
            if manner.stream:
                first_s, idle_s = times.first_s, times.idle_s
                reply = await read_stream(opened(), whole, first_s=first_s, idle_s=idle_s)
            else:
                reply = read_reply((await opened()).content, whole)
        return reply, text_of(came.get("x-request-id", "")), rest_asked_for(came)
