"""The simulated providers: OpenAI and Azure, chats, Responses, embeddings, scripted faults.

Every request it saw is in its log, with what it billed: the oracle of the fault tests. Faults come
from three places: rates set for a provider (`POST /_sim/faults`), a fixed plan for a provider
(its next answers), and directives in a message, `[[sim:status=400]]`, for a single intent.
"""

import asyncio
import json
import random
from collections import deque
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from aiohttp import web

from hybrid.stack.simulated import Call, Faults, act_of, charge, invent, wants_of
from hybrid.stack.simulated_apis import (
    Written,
    chat_chunks,
    chat_document,
    is_answered,
    response_document,
    response_events,
    text_of,
)
from hybrid.stack.simulated_background import Cabinet, Kept, is_background
from hybrid.stack.simulated_batches import BatchRoom
from hybrid.stack.simulated_embeddings import embedded
from hybrid.stack.simulated_models import Shelf

__all__ = ["Simulator", "serve"]

#: What a model writes that is told to go on and by nobody to stop.
MOST_WRITTEN = 128_000
#: What it bills for calls of service tier flex.
TIER_SHARES = {"flex": Decimal("0.5"), "priority": Decimal(2)}
LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
ERROR_CODES = {
    400: "invalid_request_error",
    401: "invalid_api_key",
    403: "permission_denied",
    404: "DeploymentNotFound",
    422: "invalid_value",
    429: "rate_limit_exceeded",
}


class Simulator:
    """Both providers, their faults and the log of calls."""

    def __init__(self, *, seed: int = 0, log_file: Path | None = None) -> None:
        """Begin without faults; `log_file` gets one JSON line a call."""
        self._seed = seed
        self.faults: dict[str, Faults] = {"openai": Faults(), "azure": Faults()}
        self.calls: deque[Call] = deque(maxlen=2_000_000)
        self._log = log_file.open("a", encoding="utf-8", buffering=1) if log_file else None
        self._sequence = 0
        self.shelf = Shelf(self._refusal)
        tools = (
            lambda provider: self.faults[provider],
            lambda status, provider: self._refuse(status, self.faults[provider], {}),
            self._record,
        )
        self.cabinet = Cabinet(*tools)
        self.batches = BatchRoom(*tools, self._document)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer a request of either provider and either API."""
        provider = "azure" if request.path.startswith("/openai/") else "openai"
        faults = self.faults[provider]
        attempt_id = request.headers.get("X-Client-Request-Id", "")
        body: dict[str, Any] = await request.json()
        kept = is_background(request, body)
        if kept and (known := self.cabinet.known(request, provider)) is not None:
            return known
        text = text_of(body)
        wants = wants_of(text)
        dice = random.Random(f"{self._seed}/{attempt_id}")  # noqa: S311 - scripted chance
        model = str(request.match_info.get("deployment") or body.get("model") or "")
        act = act_of(faults, wants, dice)
        call = Call.of(provider, model, attempt_id, text)
        call.sequence, call.outcome = self._next(), act
        latency = float(wants.get("latency_ms") or faults.latency_ms) / 1000
        if dice.random() < faults.rate_slow:
            latency *= faults.slow_factor
        latency *= 0.75 + dice.random() / 2
        if kept and act in {"200", "hang", "lost"}:
            takes_s = None if act == "hang" else latency
            answer = self._keep(request, call, body, text, wants, takes_s)
            await asyncio.sleep(faults.keeping.answer_ms / 1000)
            return _abort(request) if act == "lost" else answer
        if act == "hang":
            self._record(call)
            await _until_gone(request)
            return web.Response(status=504)
        if latency:
            await asyncio.sleep(latency)
        if act == "reset":
            self._record(call)
            return _abort(request)
        if act.isdigit() and act != "200":
            call.status = int(act)
            self._record(call)
            return self._refuse(int(act), faults, wants)
        if body.get("stream"):
            return await self._serve_stream(request, call, body, text, wants)
        document = self._document(request.path, call, body, text, wants)
        self._record(call)
        return web.json_response(document, headers={"x-request-id": f"req-{call.sequence}"})

    async def _serve_stream(
        self,
        request: web.Request,
        call: Call,
        body: dict[str, Any],
        text: str,
        wants: dict[str, str],
    ) -> web.StreamResponse:
        """Answer in server-sent events; `stall` in a message stops after the first of them."""
        headers = {"Content-Type": "text/event-stream", "x-request-id": f"req-{call.sequence}"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        written = self._answer(call, body, text, wants)
        self._record(call)
        events = response_events(written) if _is_response(request.path) else chat_chunks(written)
        for event in events:
            data = event if isinstance(event, str) else json.dumps(event)
            await response.write(f"data: {data}\n\n".encode())
            if "stall" in wants and _is_piece(event):
                await _until_gone(request)
                return response
        return response

    def _document(
        self, path: str, call: Call, body: dict[str, Any], text: str, wants: dict[str, str]
    ) -> dict[str, Any]:
        """Answer a request to a path, and bill it."""
        if path.endswith("/embeddings"):
            call.sequence = call.sequence or self._next()
            return embedded(call, body, wants)
        written = self._answer(call, body, text, wants)
        return response_document(written) if _is_response(path) else chat_document(written)

    def _answer(
        self, call: Call, body: dict[str, Any], text: str, wants: dict[str, str]
    ) -> Written:
        """Make up an answer, and bill it."""
        content = wants.get("text") or invent(text)
        if "chars" in wants:
            content = "x" * int(wants["chars"])
        prompt_tokens = max(1, len(text) // 4)
        completion_tokens = max(1, len(content) // 4)
        if "tokens" in wants:
            prompt_tokens = int(wants["tokens"]) - completion_tokens
        if "greedy" in wants:  # a token for each byte, and as many as it may
            wanted = body.get("response_format") or body.get("text")
            sent = json.dumps(wanted, ensure_ascii=False) + text
            prompt_tokens = len(sent.encode("utf-8", "replace"))
            limits = [body.get(name) for name in LIMITS]
            completion_tokens = int(next(filter(None, limits), MOST_WRITTEN))
        call.sequence = call.sequence or self._next()
        call.status = 200
        call.tokens = prompt_tokens + completion_tokens
        tier = wants.get("tier") or body.get("service_tier") or "default"
        billed = charge(call, prompt_tokens, completion_tokens) * TIER_SHARES.get(tier, 1)
        call.billed_usd = format(billed, "f")
        return Written(
            call.sequence,
            int(call.at),
            call.model or str(body.get("model")),
            content,
            wants.get("finish_reason") or "stop",
            tier,
            None if "no_usage" in wants else (prompt_tokens, completion_tokens),
            tool="" if is_answered(body) else wants.get("tool", ""),
        )

    def _keep(
        self,
        request: web.Request,
        call: Call,
        body: dict[str, Any],
        text: str,
        wants: dict[str, str],
        takes_s: float | None,
    ) -> web.Response:
        """Begin a background response; `ends=failed` in a message has it fail."""
        document = response_document(self._answer(call, body, text, wants))
        if wants.get("ends") == "failed":
            error = {"code": wants.get("code") or "server_error", "message": "simulated failure"}
            document |= {"status": "failed", "error": error, "output": [], "usage": None}
        prompt_tokens = max(1, len(text) // 4)
        return self.cabinet.put(request, Kept(call, document, prompt_tokens, takes_s), body)

    @staticmethod
    def _refuse(status: int, faults: Faults, wants: dict[str, str]) -> web.Response:
        headers = {"x-request-id": f"req-refused-{status}"}
        retry_after = wants.get("retry_after") or faults.retry_after
        if status == web.HTTPTooManyRequests.status_code and retry_after:
            headers["retry-after"] = retry_after
        code = wants.get("code") or ERROR_CODES.get(status, "server_error")
        param = wants.get("param")
        error = {"message": f"simulated {status}", "type": code, "param": param, "code": code}
        return web.json_response({"error": error}, status=status, headers=headers)

    def _refusal(self, provider: str) -> web.Response | None:
        """Give what a provider answers to whatever it is asked; None = what it is asked for."""
        always = self.faults[provider].always or ""
        return self._refuse(int(always), self.faults[provider], {}) if always.isdigit() else None

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _record(self, call: Call) -> None:
        self.calls.append(call)
        if self._log is not None:
            self._log.write(json.dumps(asdict(call)) + "\n")

    # ── control ─────────────────────────────────────────────────────────────────────────────

    async def show_calls(self, _request: web.Request) -> web.Response:
        """Give the log of calls as JSON Lines."""
        return web.Response(
            text="".join(json.dumps(asdict(call)) + "\n" for call in self.calls),
            content_type="application/x-ndjson",
        )

    async def set_faults(self, request: web.Request) -> web.Response:
        """Change a provider's faults: `{"openai": {"rate_429": 0.05}}`; `{}` clears it."""
        for provider, changes in (await request.json()).items():
            try:
                known = provider in self.faults and Faults(**changes)
            except TypeError:
                known = False
            if not known:
                return web.json_response({"error": f"unknown: {provider} {changes}"}, status=400)
            self.faults[provider] = known
        return web.json_response({name: asdict(value) for name, value in self.faults.items()})

    async def reset(self, _request: web.Request) -> web.Response:
        """Forget calls and faults."""
        self.calls.clear()
        self.faults = {name: Faults() for name in self.faults}
        return web.json_response({})


def _is_response(path: str) -> bool:
    return path.endswith("/responses")


def _is_piece(event: dict[str, Any] | str) -> bool:
    """Tell whether an event of a stream holds a piece of the answer."""
    return isinstance(event, dict) and ("delta" in event or bool(event.get("choices")))


def _abort(request: web.Request) -> web.Response:
    """Break the connection off."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _until_gone(request: web.Request) -> None:
    """Hang until the client gives up; aiohttp tells it by the transport only."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def serve(simulator: Simulator, *, port: int, host: str = "127.0.0.1") -> web.AppRunner:
    """Serve until the runner is cleaned up; raises OSError when the port is taken."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    for api in ("chat/completions", "embeddings", "responses"):
        app.router.add_post(f"/v1/{api}", simulator.complete)
        app.router.add_post(f"/openai/v1/{api}", simulator.complete)
    for api in ("chat/completions", "embeddings"):
        app.router.add_post(f"/openai/deployments/{{deployment}}/{api}", simulator.complete)
    app.router.add_post("/openai/responses", simulator.complete)
    simulator.shelf.routes(app)
    simulator.cabinet.routes(app)
    simulator.batches.routes(app)
    app.router.add_get("/_sim/calls", simulator.show_calls)
    app.router.add_post("/_sim/faults", simulator.set_faults)
    app.router.add_post("/_sim/reset", simulator.reset)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=False)
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=4096).start()
    return runner
