"""Providers that keep their answers: made, put on record, looked at, fetched, cancelled."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agents.clock import SystemClock
from agents.providers.adapters import ChatRequest, SdkProvider
from agents.providers.arguments import Dialect
from agents.providers.background import BackgroundProvider, pause_s
from agents.providers.building import azure_provider, openai_provider
from agents.providers.errors import ExecutionError
from agents.providers.keeping import NotKeptError, Place
from agents.providers.replies import ChatReply
from hybrid.config import load_settings
from hybrid.errors import UsageError
from hybrid.stack import simulator
from hybrid.stack.process import free_port
from schemas.vocabulary import FailureKind
from tests.integration.driving import soon


@dataclass
class Notes:
    """A keeper that remembers, and what was asked of the provider before."""

    places: list[Place] = field(default_factory=list)
    fails: Exception | None = None

    async def kept(self, place: Place) -> None:
        if self.fails is not None:
            raise self.fails
        self.places.append(place)


class Desk:
    """One adapter of background responses before one simulator."""

    def __init__(self, name: str, port: int, limit_s: float, **common: Any) -> None:
        self.name = name
        self.simulator = simulator.Simulator()
        self.faults.latency_ms = 20
        self.notes = Notes()
        url = f"http://127.0.0.1:{port}"
        shared: dict[str, Any] = {
            "api_key": "k", "timeout_s": limit_s, "concurrency": 4, "clock": SystemClock(),
            "api": "responses", "background": True, **common,
        }  # fmt: skip
        provider: SdkProvider = (
            openai_provider("openai", base_url=f"{url}/v1", model="gpt-3.5-turbo", **shared)
            if name == "openai"
            else azure_provider(
                "azure", endpoint=url, api_version="2025-04-01-preview", deployment="gpt-4-turbo",
                **shared,
            )
        )  # fmt: skip
        assert isinstance(provider, BackgroundProvider)
        self.provider = provider

    @property
    def faults(self) -> simulator.Faults:
        return self.simulator.faults[self.name]

    def request(self, text: str = "hello", **changes: Any) -> ChatRequest:
        messages = [{"role": "user", "content": text}]
        return ChatRequest(messages, "a-1", **changes)

    async def ask(self, text: str = "hello", **changes: Any) -> ChatReply:
        return await self.provider.complete(self.request(text, **changes), self.notes)

    async def error(self, text: str = "hello", **changes: Any) -> ExecutionError:
        with pytest.raises(ExecutionError) as caught:
            await self.ask(text, **changes)
        return caught.value

    async def calls(self, count: int = 1) -> list[simulator.Call]:
        """The provider's log, once it has so many entries: it writes one at a response's end."""

        async def look() -> list[simulator.Call]:
            return list(self.simulator.calls)

        seen: list[simulator.Call] = await soon(look, lambda one: len(one) >= count, within_s=10)
        assert len(seen) == count
        return seen


Steps = Callable[[Desk], Awaitable[None]]


@pytest.fixture(params=["openai", "azure"])
def at_a_desk(request: pytest.FixtureRequest) -> Callable[..., None]:
    def run(steps: Steps, *, limit_s: float = 20.0, **common: Any) -> None:
        async def all_of_it() -> None:
            port = free_port()
            desk = Desk(request.param, port, limit_s, **common)
            runner = await simulator.serve(desk.simulator, port=port)
            try:
                await steps(desk)
            finally:
                await desk.provider.close()
                await runner.cleanup()

        asyncio.run(all_of_it())

    return run


AtADesk = Callable[..., None]


def test_an_answer_is_on_record_before_it_is_waited_for(at_a_desk: AtADesk) -> None:
    async def steps(desk: Desk) -> None:
        asked = asyncio.create_task(desk.ask("[[sim:tokens=100,latency_ms=300]]"))

        async def places() -> list[Place]:
            return desk.notes.places

        (place,) = await soon(places, bool, within_s=10)
        assert not desk.simulator.calls, "it is still being made"
        reply = await asked
        assert place.response_id == reply.request_id
        assert place.key == desk.provider.keys[0]
        assert (reply.usage and reply.usage.total, reply.finish_reason) == (100, "stop")
        assert reply.content
        (call,) = await desk.calls()
        assert (call.attempt_id, call.status) == ("a-1", 200)

    at_a_desk(steps)


def test_it_is_fetched_by_whoever_knows_where_it_is(at_a_desk: AtADesk) -> None:
    async def steps(desk: Desk) -> None:
        reply = await desk.ask()
        again = await desk.provider.fetch(desk.request(), desk.notes.places[0])
        assert again == reply
        await desk.calls(1)

    at_a_desk(steps)


def test_what_does_not_come_in_time_is_cancelled(at_a_desk: AtADesk) -> None:
    async def steps(desk: Desk) -> None:
        error = await desk.error("[[sim:hang]]")
        assert (error.failure.kind, error.error_code) == (FailureKind.TIMEOUT, "timeout")
        assert error.failure.request_id == desk.notes.places[0].response_id
        (call,) = await desk.calls()
        assert call.outcome == "cancelled"

    at_a_desk(steps, limit_s=2.0)


def test_an_answer_that_is_there_when_it_is_cancelled_is_taken(at_a_desk: AtADesk) -> None:
    async def steps(desk: Desk) -> None:
        desk.faults.keeping.looks = ["503"] * 2 + ["ok"]
        reply = await desk.ask()
        assert reply.usage is not None
        assert not desk.faults.keeping.looks

    at_a_desk(steps, limit_s=0.3)  # two looks fail, then the time is over


@pytest.mark.parametrize("act", ["503", "429", "401", "404", "reset"])
def test_a_look_that_fails_is_no_failure_of_the_call(at_a_desk: AtADesk, act: str) -> None:
    async def steps(desk: Desk) -> None:
        desk.faults.retry_after = "0.1"
        desk.faults.keeping.looks = [act, act, "ok"]
        assert (await desk.ask()).usage is not None
        await desk.calls(1)

    at_a_desk(steps)


def test_what_the_provider_keeps_no_more_is_gone(at_a_desk: AtADesk) -> None:
    async def steps(desk: Desk) -> None:
        with pytest.raises(ExecutionError) as caught:
            await desk.provider.fetch(desk.request(), Place("resp_none", "k"))
        assert caught.value.error_code == "response_gone"
        assert caught.value.failure.request_id == "resp_none"

    at_a_desk(steps)


@pytest.mark.parametrize(
    ("directive", "code", "kind"),
    [
        ("ends=failed", "server_error", FailureKind.SERVER_ERROR),
        ("ends=failed,code=rate_limit_exceeded", "rate_limit_exceeded", FailureKind.RATE_LIMIT),
        ("ends=failed,code=invalid_prompt", "invalid_prompt", FailureKind.CONTENT_FILTER),
    ],
)
def test_a_response_that_fails_is_classified(
    at_a_desk: AtADesk, directive: str, code: str, kind: FailureKind
) -> None:
    async def steps(desk: Desk) -> None:
        error = await desk.error(f"[[sim:{directive}]]")
        assert (error.error_code, error.failure.kind) == (code, kind)
        assert error.failure.request_id == desk.notes.places[0].response_id

    at_a_desk(steps)


def test_one_that_is_cut_off_is_an_answer_with_its_price(at_a_desk: AtADesk) -> None:
    async def steps(desk: Desk) -> None:
        reply = await desk.ask("[[sim:finish_reason=length,tokens=50]]")
        assert (reply.finish_reason, reply.usage and reply.usage.total) == ("length", 50)

    at_a_desk(steps)


def test_one_that_somebody_else_cancels_has_failed(at_a_desk: AtADesk) -> None:
    async def steps(desk: Desk) -> None:
        asked = asyncio.create_task(desk.error("[[sim:hang]]"))

        async def places() -> list[Place]:
            return desk.notes.places

        (place,) = await soon(places, bool, within_s=10)
        assert await desk.provider.cancel(place) is None, "what it cost nobody says"
        assert (await asked).error_code == "response_cancelled"

    at_a_desk(steps)


def test_to_cancel_what_is_whole_gives_it(at_a_desk: AtADesk) -> None:
    async def steps(desk: Desk) -> None:
        reply = await desk.ask()
        late = await desk.provider.cancel(desk.notes.places[0])
        assert late is not None
        assert (late.usage, late.content) == (reply.usage, reply.content)

    at_a_desk(steps)


@pytest.mark.parametrize("status", [400, 401, 429, 503])
def test_a_request_that_is_refused_is_classified_as_any_other(
    at_a_desk: AtADesk, status: int
) -> None:
    async def steps(desk: Desk) -> None:
        desk.faults.plan = [str(status)]
        assert (await desk.error()).http_status == status
        assert not desk.notes.places

    at_a_desk(steps)


def test_a_model_that_takes_no_background_is_the_configurations_fault(at_a_desk: AtADesk) -> None:
    async def steps(desk: Desk) -> None:
        refused = "[[sim:status=400,code=unsupported_parameter,param=background]]"
        error = await desk.error(refused)
        assert (error.error_code, error.failure.kind) == (
            "background_refused", FailureKind.DEPLOYMENT_NOT_FOUND,
        )  # fmt: skip
        assert (await desk.error(refused)).error_code == "background_refused", "and stays it"

    at_a_desk(steps)


def test_what_is_sent_says_whose_it_is_and_where_it_may_not_be_stored(at_a_desk: AtADesk) -> None:
    async def steps(desk: Desk) -> None:
        await desk.ask(parameters={"metadata": {"team": "a"}})
        (kept,) = desk.simulator.cabinet.all()
        assert kept["metadata"] == {"team": "a", "hybrid_attempt_id": "a-1"}
        assert kept["store"] is False, "extra_body says so"

    at_a_desk(steps, dialect=Dialect(extra_body={"store": False}))


def test_a_lost_answer_to_the_request_is_a_lost_connection(at_a_desk: AtADesk) -> None:
    async def steps(desk: Desk) -> None:
        desk.faults.plan = ["lost"]
        assert (await desk.error()).failure.kind is FailureKind.CONNECTION
        assert (await desk.calls())[0].billed_usd != "0", "it is billed all the same"

    at_a_desk(steps)


def test_where_requests_have_keys_the_lost_one_is_found(at_a_desk: AtADesk) -> None:
    async def steps(desk: Desk) -> None:
        desk.faults.keeping.idempotent = True
        desk.faults.plan = ["lost"]
        assert desk.provider.finds
        found = await desk.ask()
        await desk.calls(1)
        assert await desk.ask() == found, "the same call, the same answer"
        await desk.calls(1)

    at_a_desk(steps, idempotency_header="Idempotency-Key")


def test_a_place_that_cannot_be_put_on_record_ends_the_call(at_a_desk: AtADesk) -> None:
    async def steps(desk: Desk) -> None:
        desk.notes.fails = ValueError("no")
        with pytest.raises(NotKeptError) as caught:
            await desk.ask()
        assert isinstance(caught.value.__cause__, ValueError)

    at_a_desk(steps)


def test_looks_grow_apart_with_the_time_waited() -> None:
    assert [pause_s(waited) for waited in (0, 1, 8, 40, 3600)] == [0.25, 0.25, 1.0, 5.0, 10.0]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("background = true", 'background needs api = "responses"'),
        ('background = true\napi = "responses"\nstream = true', "background responses are not"),
        ('idempotency_header = "Idempotency-Key"', "goes with background = true"),
        ('background = true\napi = "responses"\nidempotency_header = "a b"', "is no header"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, lines: str, words: str) -> None:
    file = tmp_path / "hybrid.toml"
    file.write_text(
        f'[[providers]]\nname = "v"\nkind = "openai-compatible"\nmodel = "m"\n'
        f'base_url = "http://127.0.0.1:1/v1"\n{lines}\n'
    )
    with pytest.raises(UsageError, match=words):
        load_settings(environment={}, file=file)
