"""Background responses: made, kept by the provider, looked at until they are whole, cancelled.

    make ─► keeper (its id is on record) ─► look, look … ─► the answer
                                             └ time over ─► cancel ─► an answer after all, or none

What OpenAI says of them: `queued` and `in_progress` are followed by `completed`, `incomplete`,
`failed` or `cancelled`; to cancel twice, or what has ended, gives it as it is; usage is told with
the whole; without `store` it is kept for some ten minutes
(https://developers.openai.com/api/docs/guides/background). Requests have no key there by which one
is found again; servers that have one name its header in `idempotency_header`.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal

import openai

from agents.deciding.failures import Failure, classify_http, text_of
from agents.providers.adapters import Common, SdkProvider
from agents.providers.arguments import Manner
from agents.providers.asked import Asked
from agents.providers.assembly import Assembly
from agents.providers.bodies import answer_of, document_of, fields_of, text
from agents.providers.keeping import GONE, NotKeptError, Place
from agents.providers.rate_headers import rest_asked_for
from agents.providers.replies import ChatReply, UnreadableReplyError
from agents.providers.requests import ChatRequest
from agents.providers.responses import ResponsesApi
from agents.providers.wire import Wire
from schemas.vocabulary import FailureKind

__all__ = ["BackgroundApi", "BackgroundProvider", "pause_s"]

PENDING = frozenset({"queued", "in_progress"})
WHOLE = frozenset({"completed", "incomplete"})
#: What may stand in a path; the ids of the vendors are letters, digits, `_` and `-`.
ID = re.compile(r"[A-Za-z0-9_.-]{1,200}")
#: The name under which a response says whose it is, and how many names it may have.
OWN_NAME, MOST_NAMES = "hybrid_attempt_id", 16
#: Seconds between two looks: an eighth of the time waited, and never less or more than these.
LEAST_PAUSE_S, MOST_PAUSE_S, SHARE = 0.25, 10.0, 8
#: Seconds for one look or cancellation: it is a short question.
LOOK_LIMIT_S = 10.0
#: So many times it is asked again: a cancellation, and what was perhaps made.
TRIES = 3
#: A response that is not there so often in a row is gone; once it may only be too new.
GONE_AFTER = 3
NOT_FOUND = 404


def pause_s(waited_s: float) -> float:
    """Give the seconds until the next look at an answer that has been waited for."""
    return min(MOST_PAUSE_S, max(LEAST_PAUSE_S, waited_s / SHARE))


class BackgroundApi(ResponsesApi):
    """The Responses API, with the answer made in the background and kept."""

    manners: Mapping[str, Any] = MappingProxyType({"background": True, "store": True})

    def body(self, request: ChatRequest, manner: Manner) -> dict[str, Any]:
        """Give the whole body of a request; its metadata says which attempt it is."""
        body = super().body(request, replace(manner, stream=False))
        said = fields_of(body.get("metadata"))
        if len(said) < MOST_NAMES:
            body["metadata"] = {**said, OWN_NAME: request.attempt_id}
        return body


class BackgroundProvider(SdkProvider):
    """A provider that keeps its answers; each call is made, put on record, and waited for."""

    def __init__(self, name: str, wire: Wire, *, common: Common, **own: Any) -> None:  # noqa: ANN401 - its parent's
        """Keep what its parent keeps, and the header by which a request is known again."""
        super().__init__(name, wire, common=common, **own)
        self._api = BackgroundApi()
        self._header = common.get("idempotency_header", "")
        self.keeping = self

    @property
    def finds(self) -> bool:
        """Whether a response is found again of whose making nothing was heard."""
        return bool(self._header)

    async def fetch(self, request: ChatRequest, place: Place) -> ChatReply:
        """Wait for an answer that was made before; raises ExecutionError.

        It has the time limit of one attempt from now on. `request` says what it was asked for.
        """
        manner, limit_s = self._manner(request), self._limits(request).whole_s
        if request.within_s is not None:
            limit_s = min(limit_s, request.within_s)
        try:
            reply = await self._whole(place, limit_s)
        except UnreadableReplyError as error:
            raise self._error(error.failure, request) from None
        tier = manner.tier
        body = {"service_tier": tier} if tier else {}
        return self._told(reply, reply.request_id, reply.rest_s, request, manner, body)

    async def cancel(self, place: Place) -> ChatReply | None:
        """End an answer that nobody waits for; gives what it was, with its usage, where it says.

        Never raises for an answer: what cannot be cancelled ends by itself.
        """
        for number in range(TRIES):
            if number:
                await self._clock.sleep(LEAST_PAUSE_S)
            document = await self._ended(place)
            if document and text(document.get("status")) not in PENDING:
                whole = self._read(document)
                return whole.reply() if whole.billed else None
        return None

    async def _reply(self, asked: Asked) -> tuple[ChatReply, str, float]:
        """Make a response, have it put on record, and wait for it; embeddings come at once."""
        if asked.request.embeds:
            return await super()._reply(asked)
        begun = self._clock.monotonic()
        document, headers = await self._made(asked)
        if text(document.get("status")) not in PENDING:
            number = text_of(document.get("id") or headers.get("x-request-id", ""))
            return self._read(document).reply(), number, rest_asked_for(headers)
        identifier = document.get("id")
        if not (isinstance(identifier, str) and ID.fullmatch(identifier)):
            message = "a response is made, and has no id by which it could be fetched"
            failure = Failure(FailureKind.SERVER_ERROR, "unreadable_reply", message, 200)
            raise UnreadableReplyError(failure)
        place = Place(identifier, self.credentials.labels[asked.grant.number])
        if asked.keeper is not None:
            try:
                await asked.keeper.kept(place)
            except Exception as error:
                raise NotKeptError from error
        left_s = asked.limit_s - (self._clock.monotonic() - begun)
        reply = await self._whole(place, left_s, waited_s=asked.limit_s)
        return reply, reply.request_id, 0.0

    # ── making ──────────────────────────────────────────────────────────────────────────────

    async def _made(self, asked: Asked) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Have a response made; where no answer came, and the server finds it again, once more.

        Raises what the SDK raises, and TimeoutError.
        """
        headers = self._headers(asked.request, asked.grant.headers)
        if self._header:
            headers[self._header] = asked.request.attempt_id
        async with asyncio.timeout(asked.limit_s):
            for left in reversed(range(TRIES if self._header else 1)):
                try:
                    answer = await self._wire.post(
                        self._api.path, asked.body, headers, model=asked.manner.model, stream=False
                    )
                except openai.APIStatusError:
                    raise
                except Exception:
                    if not left:
                        raise
                    await self._clock.sleep(LEAST_PAUSE_S)
                else:
                    return document_of(answer.content), answer.headers
        raise AssertionError  # the last try gives or raises

    def _failure_of(self, error: Exception, model: str, **sent: Any) -> Failure:  # noqa: ANN401 - as its parent's
        failure = super()._failure_of(error, model, **sent)
        if failure.kind is FailureKind.BAD_REQUEST and isinstance(error, openai.APIStatusError):
            said = answer_of(error.status_code, error.response.headers, error.body)
            if said.parameter == "background":
                message = "the model takes no background responses: configure it without background"
                kind = FailureKind.DEPLOYMENT_NOT_FOUND
                return replace(failure, kind=kind, code="background_refused", message=message)
        return failure

    # ── waiting ─────────────────────────────────────────────────────────────────────────────

    async def _whole(
        self, place: Place, limit_s: float, *, waited_s: float | None = None
    ) -> ChatReply:
        """Look until the answer is whole, or the time is over, which cancels it.

        Raises UnreadableReplyError for one that is none, and says nothing of what it cost.
        """
        begun, absent = self._clock.monotonic(), 0
        while True:
            document, wait_s, absent = await self._seen(place, absent)
            if document and text(document.get("status")) not in PENDING:
                return self._as_reply(place, document)
            if absent >= GONE_AFTER:
                message = "the provider does not keep the response any more"
                failure = Failure(FailureKind.CONNECTION, GONE, message, NOT_FOUND)
                raise UnreadableReplyError(replace(failure, request_id=place.response_id))
            waited = self._clock.monotonic() - begun
            if waited >= limit_s:
                return await self._too_late(place, limit_s if waited_s is None else waited_s)
            await self._clock.sleep(min(limit_s - waited, max(wait_s, pause_s(waited))))

    async def _seen(self, place: Place, absent: int) -> tuple[Mapping[str, Any], float, int]:
        """Look once: the response, the wait that is asked for, and how often it was not there.

        An error passes: the answer is paid for, and may be there at the next look.
        """
        try:
            return await self._ask("GET", place, ""), 0.0, 0
        except openai.APIStatusError as error:
            answer = answer_of(error.status_code, error.response.headers, error.body)
            wait_ms = classify_http(answer, now=self._clock.now()).retry_after_ms or 0
            return {}, wait_ms / 1000, absent + 1 if error.status_code == NOT_FOUND else 0
        except Exception:  # noqa: BLE001 - whatever libraries raise, nothing was seen
            return {}, 0.0, absent

    async def _too_late(self, place: Place, limit_s: float) -> ChatReply:
        """Cancel what did not come in time; gives the answer where it was quicker."""
        failure = Failure(
            FailureKind.TIMEOUT,
            "timeout",
            f"no answer within {limit_s:g} s; the response is cancelled",
            request_id=place.response_id,
        )
        reply = await self.cancel(place)
        if reply is None:
            raise UnreadableReplyError(failure)
        if reply.finish_reason == "error":  # cancelled, and what it cost till then is told
            return replace(reply, failure=failure, request_id=place.response_id)
        return replace(reply, request_id=place.response_id)

    def _as_reply(self, place: Place, document: Mapping[str, Any]) -> ChatReply:
        """Read a response that has ended."""
        whole = self._read(document)
        if text(document.get("status")) == "cancelled":
            message = "the response was cancelled at the provider"
            failure = Failure(FailureKind.SERVER_ERROR, "response_cancelled", message, 200)
            failure = replace(failure, request_id=place.response_id)
            whole.broken(failure)
            if not whole.billed:
                raise UnreadableReplyError(failure)
        try:
            reply = whole.reply()
        except UnreadableReplyError as error:
            told = replace(error.failure, request_id=place.response_id)
            raise UnreadableReplyError(told) from None
        return replace(reply, request_id=place.response_id)

    def _read(self, document: Mapping[str, Any]) -> Assembly:
        whole = self._api.assembly(self._clock.now())
        whole.add(document)
        return whole

    async def _ended(self, place: Place) -> Mapping[str, Any]:
        try:
            return await self._ask("POST", place, "/cancel")
        except Exception:  # noqa: BLE001 - it ends by itself
            return {}

    async def _ask(
        self, method: Literal["GET", "POST"], place: Place, what: str
    ) -> Mapping[str, Any]:
        """Ask about a kept response, with the key it is seen by; raises what the SDK raises."""
        labels = self.credentials.labels
        number = labels.index(place.key) if place.key in labels else 0
        async with asyncio.timeout(LOOK_LIMIT_S):
            headers = await self.credentials.headers(number)
            path = f"{self._api.path}/{place.response_id}{what}"
            answer = await self._wire.ask(method, path, headers)
        return document_of(answer.content)
