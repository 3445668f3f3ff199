"""A provider's Batch API: lines are uploaded as a file, and answered in one at a lower price.

What OpenAI says of it: a line has a `custom_id`, a method, a URL and a body; all lines of a file
name one model; at most 50,000 lines and 200 MB; half the price; answers come within 24 hours, or
the batch is `expired`, and what was answered is in the output file; a batch has metadata, and
batches are listed, the newest first (https://developers.openai.com/api/docs/guides/batch).
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from agents.deciding.failures import Failure, classify_http
from agents.pricing.prices import Charge
from agents.providers.adapters import Common, SdkProvider
from agents.providers.apis import EMBEDDINGS
from agents.providers.batching import SeenBatch
from agents.providers.bodies import answer_of, document_of, fields_of, text
from agents.providers.replies import ChatReply, UnreadableReplyError
from agents.providers.requests import ChatRequest
from agents.providers.tool_calls import objects_of
from agents.providers.wire import Wire, encoded

__all__ = ["BATCH_TIER", "BatchProvider"]

#: The name under which a batch says whose it is.
OWN_NAME = "hybrid_batch_id"
BATCH_TIER = "batch"
#: What may stand in a path.
ID = re.compile(r"[A-Za-z0-9_.-]{1,200}")
#: Seconds for one question, and for a file to go up or down.
ASK_LIMIT_S, FILE_LIMIT_S = 30.0, 600.0
#: Batches that are looked through for one that was perhaps made, and how many come at a time.
MOST_LISTED, PAGE = 1_000, 100
OK = 200


class BatchProvider(SdkProvider):
    """A provider that also answers batches."""

    def __init__(self, name: str, wire: Wire, *, common: Common, **own: Any) -> None:  # noqa: ANN401 - its parent's
        """Keep what its parent keeps, and what a line costs of the standard price."""
        super().__init__(name, wire, common=common, **own)
        self._share = common.get("batch_price", Decimal("0.5"))
        self.batching = self

    def line(self, request: ChatRequest) -> bytes:
        """Write a line of a batch's file; raises UnwritableRequestError."""
        manner = replace(self._manner(request), stream=False, tier="")
        return encoded(
            {
                "custom_id": request.attempt_id,
                "method": "POST",
                "url": self._url(embeds=request.embeds),
                "body": self._api_of(request).body(request, manner),
            }
        )

    def _url(self, *, embeds: bool) -> str:
        return f"/v1{EMBEDDINGS.path if embeds else self._api.path}"

    async def submit(
        self, content: bytes, *, batch_id: str, key: str, embeds: bool = False
    ) -> SeenBatch:
        """Upload lines, and make a batch of them that has our id in its metadata."""
        headers, client = await self._auth(key), self._wire.client
        async with asyncio.timeout(FILE_LIMIT_S):
            file = await client.files.with_raw_response.create(
                file=(f"{batch_id}.jsonl", content), purpose="batch", extra_headers=headers
            )
        identifier = text(document_of(file.content).get("id"))
        async with asyncio.timeout(ASK_LIMIT_S):
            made = await client.batches.with_raw_response.create(
                input_file_id=identifier,
                endpoint=self._url(embeds=embeds),  # type: ignore[arg-type] # the SDK's list of paths
                completion_window="24h",
                metadata={OWN_NAME: batch_id},
                extra_headers=headers,
            )
        return _seen(document_of(made.content))

    async def found(self, batch_id: str, *, key: str) -> list[SeenBatch]:
        """Give the batches that have our id in their metadata, the newest first."""
        headers, found, after = await self._auth(key), list[SeenBatch](), ""
        for _ in range(MOST_LISTED // PAGE):
            query = f"?limit={PAGE}" + (f"&after={after}" if after else "")
            async with asyncio.timeout(ASK_LIMIT_S):
                answer = await self._wire.ask("GET", f"/batches{query}", headers)
            page = document_of(answer.content)
            batches = objects_of(page.get("data"))
            found += [
                _seen(one)
                for one in batches
                if fields_of(one.get("metadata")).get(OWN_NAME) == batch_id
            ]
            after = text(batches[-1].get("id")) if batches else ""
            if page.get("has_more") is not True or not after:
                break
        return found

    async def look(self, provider_batch_id: str, *, key: str) -> SeenBatch:
        """Show a batch as it is."""
        async with asyncio.timeout(ASK_LIMIT_S):
            headers = await self._auth(key)
            answer = await self._wire.ask("GET", f"/batches/{provider_batch_id}", headers)
        return _seen(document_of(answer.content))

    async def cancel(self, provider_batch_id: str, *, key: str) -> None:
        """Begin to cancel a batch."""
        async with asyncio.timeout(ASK_LIMIT_S):
            headers = await self._auth(key)
            await self._wire.ask("POST", f"/batches/{provider_batch_id}/cancel", headers)

    async def read(self, file_id: str, *, key: str) -> bytes:
        """Give what is in a file."""
        async with asyncio.timeout(FILE_LIMIT_S):
            headers = await self._auth(key)
            answer = await self._wire.ask("GET", f"/files/{file_id}/content", headers)
        content: bytes = answer.content
        return content

    async def delete(self, file_id: str, *, key: str) -> None:
        """Delete a file."""
        async with asyncio.timeout(ASK_LIMIT_S):
            headers = await self._auth(key)
            await self._wire.client.files.delete(file_id, extra_headers=headers)

    def reply(
        self, request: ChatRequest, status: int, body: Mapping[str, Any], number: str
    ) -> ChatReply:
        """Read what a line was answered; raises ExecutionError."""
        if status != OK:
            failure = classify_http(answer_of(status, {}, body), now=self._clock.now())
            raise self._error(replace(failure, request_id=number), request)
        try:
            whole = self._api_of(request).assembly(self._clock.now())
            whole.add(body)
            reply = whole.reply()
        except UnreadableReplyError as error:
            told: Failure = replace(error.failure, request_id=number)
            raise self._error(told, request) from None
        dropped = self._api_of(request).left_out(request, self._manner(request))
        charge = Charge(BATCH_TIER, self._share)
        return replace(reply, request_id=number, charge=charge, dropped=dropped)

    async def _auth(self, key: str) -> dict[str, str]:
        """Give what shows who we are, by the key that a batch is made with."""
        labels = self.credentials.labels
        return await self.credentials.headers(labels.index(key) if key in labels else 0)


def _seen(document: Mapping[str, Any]) -> SeenBatch:
    errors = objects_of(fields_of(document.get("errors")).get("data"))
    said = text(errors[0].get("message")) or text(errors[0].get("code")) if errors else ""
    return SeenBatch(
        batch_id=_id(document.get("id")),
        status=text(document.get("status")),
        output_file_id=_id(document.get("output_file_id")),
        error_file_id=_id(document.get("error_file_id")),
        input_file_id=_id(document.get("input_file_id")),
        said=said,
        code=text(errors[0].get("code")) if errors else "",
    )


def _id(value: object) -> str:
    found = text(value)
    return found if ID.fullmatch(found) else ""
