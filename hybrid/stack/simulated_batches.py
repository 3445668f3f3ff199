"""The simulated Batch API: files, and batches of lines that are answered at half the price.

A batch is `validating`, `in_progress`, `finalizing`, then `completed`, `failed`, `expired` or
`cancelled`. A line is in the log of calls, and bills, when it is answered; one that was not
answered in time is in the error file, one that was cancelled is in neither.
"""

import asyncio
import json
import random
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from aiohttp import web

from hybrid.stack.simulated import Call, Faults, wants_of
from hybrid.stack.simulated_apis import text_of
from hybrid.stack.simulated_batch import Batch, begun, expired
from hybrid.stack.simulated_files import FileRoom, provider_of, unknown

__all__ = ["BatchRoom"]

#: Of a batch's turn-around, the parts in which it is validated, and in which it is finalized.
VALIDATED, FINALIZED = 0.1, 0.1
STEPS = 10  # in which its lines are answered
SHARE = Decimal("0.5")  # what it is charged of the standard price
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
EMBEDDINGS = "/v1/embeddings"
MOST_LINES = MOST_INPUTS = 50_000
OK = 200


class BatchRoom:
    """All batches of the simulated providers."""

    def __init__(
        self,
        faults: Callable[[str], Faults],
        refuse: Callable[[int, str], web.Response],
        record: Callable[[Call], None],
        write: Callable[[str, Call, dict[str, Any], str, dict[str, str]], dict[str, Any]],
    ) -> None:
        """Keep none yet; `write` answers a path, and bills it, the rest is as elsewhere."""
        self.files = FileRoom(faults, refuse)
        self._faults = faults
        self._record = record
        self._write = write
        self._batches: dict[str, Batch] = {}
        self._running: set[asyncio.Task[None]] = set()

    def routes(self, app: web.Application) -> None:
        """Serve the vendors' paths."""
        self.files.routes(app)
        for root in ("/v1", "/openai/v1", "/openai"):
            app.router.add_post(f"{root}/batches", self.create)
            app.router.add_get(f"{root}/batches", self.show_all)
            app.router.add_get(f"{root}/batches/{{id}}", self.look)
            app.router.add_post(f"{root}/batches/{{id}}/cancel", self.cancel)

    async def create(self, request: web.Request) -> web.Response:
        """Make a batch of a file; `lost` in the plan makes it and breaks the connection off."""
        provider, body = provider_of(request), await request.json()
        plan = self._faults(provider).batching.plan
        fate = plan.pop(0) if plan else "ok"
        if fate.isdigit():
            return self.files.refuse(int(fate), provider)
        if fate == "reset" and request.transport is not None:
            request.transport.abort()
            return web.Response(status=500)
        if body.get("input_file_id") not in self.files.of(provider):
            return unknown(f"file {body.get('input_file_id')!r}")
        lost, fate = fate == "lost", "ok" if fate == "lost" else fate
        batch = Batch(provider, begun(body), fate)
        self._batches[batch.document["id"]] = batch
        task = asyncio.get_running_loop().create_task(self._run(batch))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        if lost and request.transport is not None:
            request.transport.abort()
        return web.json_response(batch.document)

    async def look(self, request: web.Request) -> web.Response:
        """Show one as it is."""
        batch = self._one(request)
        refusal = self.files.trouble(request)
        return refusal or (web.json_response(batch.document) if batch else _absent(request))

    async def show_all(self, request: web.Request) -> web.Response:
        """Show all of a provider, the newest first, a page at a time."""
        refusal = self.files.trouble(request)
        if refusal is not None:
            return refusal
        until = time.monotonic() - self._faults(provider_of(request)).batching.listed_after_s
        own = [
            one
            for one in reversed(self._batches.values())
            if one.provider == provider_of(request) and one.made <= until
        ]
        documents = [one.document for one in own]
        after, limit = request.query.get("after"), int(request.query.get("limit", 20))
        names = [one["id"] for one in documents]
        begin = names.index(after) + 1 if after in names else 0
        page = documents[begin : begin + limit]
        return web.json_response(
            {
                "object": "list",
                "data": page,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "has_more": begin + limit < len(documents),
            }
        )

    async def cancel(self, request: web.Request) -> web.Response:
        """Begin to cancel one; what has ended stays what it is."""
        batch, refusal = self._one(request), self.files.trouble(request)
        if refusal is not None or batch is None:
            return refusal or _absent(request)
        if batch.status in ENDED:
            return self.files.refuse(409, batch.provider)
        batch.stop()
        return web.json_response(batch.document)

    def _one(self, request: web.Request) -> Batch | None:
        batch = self._batches.get(request.match_info["id"])
        return batch if batch is not None and batch.provider == provider_of(request) else None

    # ── a batch's life ──────────────────────────────────────────────────────────────────────

    async def _run(self, batch: Batch) -> None:
        batching = self._faults(batch.provider).batching
        turn_s = batching.turnaround_s
        await batch.go_on(turn_s * VALIDATED)
        problems = self._validated(batch)
        if problems and batch.status != "cancelling":
            batch.document["errors"] = {"object": "list", "data": problems}
            batch.turn("failed")
            return
        if batch.status != "cancelling":
            batch.turn("in_progress")
        dice = random.Random(batch.document["input_file_id"])  # noqa: S311 - scripted chance
        order = dice.sample(batch.lines, len(batch.lines))
        most = len(order) if batch.fate == "ok" else int(len(order) * batching.done_share)
        for step in range(STEPS):
            await batch.go_on(turn_s * (1 - VALIDATED - FINALIZED) / STEPS)
            if batch.status == "cancelling":
                break
            for line in order[most * step // STEPS : most * (step + 1) // STEPS]:
                self._answer(batch, line)
        await self._end(batch, turn_s, cancel_s=batching.cancel_s)

    async def _end(self, batch: Batch, turn_s: float, *, cancel_s: float) -> None:
        if batch.fate == "never":
            await batch.stopped.wait()
        if batch.status == "cancelling" or batch.fate == "cancelled":
            batch.turn("cancelling")
            await asyncio.sleep(cancel_s)
            last = "cancelled"
        elif batch.fate == "expires":
            done = {one["custom_id"] for one in (*batch.output, *batch.errors)}
            left = [one for one in batch.lines if one["custom_id"] not in done]
            batch.errors += [expired(one) for one in left]
            last = "expired"
        else:
            batch.turn("finalizing")
            await asyncio.sleep(turn_s * FINALIZED)
            last = "completed"
        for name, lines in (("output_file_id", batch.output), ("error_file_id", batch.errors)):
            if lines:
                text = "".join(json.dumps(line) + "\n" for line in lines)
                batch.document[name] = self.files.keep(
                    batch.provider, text.encode(), "batch_output"
                )
        batch.turn(last)

    def _validated(self, batch: Batch) -> list[dict[str, Any]]:
        """Read the lines; gives what is wrong with them."""
        raw = self.files.of(batch.provider)[batch.document["input_file_id"]].content
        problems, seen, models, inputs = [], set[str](), set[str](), 0
        for number, text in enumerate(raw.decode().splitlines(), 1):
            code = "simulated_failure" if batch.fate == "fails" else ""
            try:
                line = json.loads(text)
                identifier, body = line["custom_id"], line["body"]
                models.add(body["model"])
            except (ValueError, TypeError, KeyError):
                line, identifier, code = {}, "", "invalid_json_line"
            if identifier in seen:
                code = "duplicate_custom_id"
            if line and line.get("url") != batch.document["endpoint"]:
                code = "mismatched_url"
            if line.get("url") == EMBEDDINGS:
                inputs += len(line["body"].get("input", []))
            if len(models) > 1:
                code = "mismatched_model"
            seen.add(identifier)
            if code:
                problems.append({"code": code, "line": number, "message": code, "param": None})
            batch.lines.append(line)
        if not batch.lines or len(batch.lines) > MOST_LINES or inputs > MOST_INPUTS:
            problems.append({"code": "wrong_size", "line": None, "message": "1 to 50,000 lines"})
        batch.document["request_counts"]["total"] = len(batch.lines)
        batch.model = ",".join(models)
        batch.tokens = sum(len(text_of(line["body"])) // 4 for line in batch.lines if line)
        if not self._has_room(batch):
            message = f"Enqueued token limit reached for {batch.model}"
            problems.append({"code": "token_limit_exceeded", "line": None, "message": message})
        return problems

    def _has_room(self, batch: Batch) -> bool:
        most = self._faults(batch.provider).batching.most_enqueued
        enqueued = sum(
            one.tokens
            for one in self._batches.values()
            if (one.provider, one.model) == (batch.provider, batch.model)
            and one.status not in ENDED
        )
        return most is None or enqueued <= most

    def _answer(self, batch: Batch, line: dict[str, Any]) -> None:
        """Answer a line, or refuse it: `status=400` in a message, or `batch_status=500`."""
        body, text = line["body"], text_of(line["body"])
        wants = wants_of(text)
        call = Call.of(batch.provider, str(body.get("model")), line["custom_id"], text)
        call.batch = batch.document["id"]
        document = self._write(batch.document["endpoint"], call, body, text, wants)
        status = int(wants.get("batch_status") or wants.get("status") or OK)
        answer: dict[str, Any] = {
            "id": f"batch_req_{uuid.uuid4().hex}",
            "custom_id": line["custom_id"],
            "response": {"status_code": status, "request_id": f"req-{call.sequence}"},
            "error": None,
        }
        if status == OK:
            answer["response"]["body"] = document
            billed = Decimal(call.billed_usd) * SHARE
            call.billed_usd = format(billed, "f")
            batch.output.append(answer)
        else:
            code = wants.get("code") or "server_error"
            said = {"message": f"simulated {status}", "type": code, "param": None, "code": code}
            answer["response"]["body"] = {"error": said}
            call.status, call.outcome, call.billed_usd, call.tokens = status, str(status), "0", 0
            batch.errors.append(answer)
        counts = batch.document["request_counts"]
        counts["completed" if status == OK else "failed"] += 1
        self._record(call)


def _absent(request: web.Request) -> web.Response:
    return unknown(f"batch {request.match_info['id']!r}")
