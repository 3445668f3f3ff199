"""The simulator's background responses: states, retention, cancel, and one found by its key."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from hybrid.stack import simulator
from hybrid.stack.process import free_port
from tests.integration.driving import soon


class Desk:
    """One simulator, and who asks it."""

    def __init__(self, session: ClientSession, address: str, served: simulator.Simulator) -> None:
        self.session, self.address, self.simulator = session, address, served

    async def create(self, text: str = "x", key: str = "") -> dict[str, Any]:
        body = {"model": "gpt-3.5-turbo", "input": text, "background": True, "store": True}
        headers = {"Idempotency-Key": key} if key else {}
        async with self.session.post(self.address, json=body, headers=headers) as answer:
            return dict(await answer.json())

    async def look(self, identifier: str) -> dict[str, Any]:
        async with self.session.get(f"{self.address}/{identifier}") as answer:
            return {"http": answer.status, **await answer.json()}

    async def cancel(self, identifier: str) -> dict[str, Any]:
        async with self.session.post(f"{self.address}/{identifier}/cancel") as answer:
            return {"http": answer.status, **await answer.json()}

    async def until(self, identifier: str, status: str) -> dict[str, Any]:
        seen: dict[str, Any] = await soon(
            lambda: self.look(identifier), lambda found: found.get("status") == status, within_s=10
        )
        return seen


def at_a_desk(steps: Callable[[Desk], Awaitable[None]], path: str = "v1") -> None:
    async def all_of_it() -> None:
        port, served = free_port(), simulator.Simulator()
        for faults in served.faults.values():
            faults.latency_ms = 100
        runner = await simulator.serve(served, port=port)
        try:
            async with ClientSession() as session:
                await steps(Desk(session, f"http://127.0.0.1:{port}/{path}/responses", served))
        finally:
            await runner.cleanup()

    asyncio.run(all_of_it())


@pytest.mark.parametrize("path", ["v1", "openai/v1", "openai"])
def test_a_response_is_queued_then_whole_and_bills_once_at_its_end(path: str) -> None:
    async def steps(desk: Desk) -> None:
        made = await desk.create("[[sim:tokens=100]]")
        assert (made["status"], made["usage"], made["output"]) == ("queued", None, [])
        done = await desk.until(made["id"], "completed")
        assert done["usage"]["total_tokens"] == 100
        assert done["output"][0]["content"][0]["text"]
        assert await desk.look(made["id"]) == done
        assert (await desk.cancel(made["id"]))["status"] == "completed"
        (call,) = desk.simulator.calls
        assert (call.status, call.tokens) == (200, 100)

    at_a_desk(steps, path)


def test_what_never_ends_is_in_progress_until_it_is_cancelled() -> None:
    async def steps(desk: Desk) -> None:
        made = await desk.create("[[sim:hang]]")
        await desk.until(made["id"], "in_progress")
        assert not desk.simulator.calls
        first, second = await desk.cancel(made["id"]), await desk.cancel(made["id"])
        assert first == second
        assert (first["status"], first["usage"]) == ("cancelled", None)
        (call,) = desk.simulator.calls
        assert (call.outcome, call.status) == ("cancelled", 499)

    at_a_desk(steps)


@pytest.mark.parametrize(
    ("directive", "status", "code"),
    [("ends=failed,code=server_error", "failed", 500), ("finish_reason=length", "incomplete", 200)],
)
def test_other_ends(directive: str, status: str, code: int) -> None:
    async def steps(desk: Desk) -> None:
        made = await desk.create(f"[[sim:{directive}]]")
        done = await desk.until(made["id"], status)
        assert bool(done["error"]) == (status == "failed")
        (call,) = desk.simulator.calls
        assert call.status == code
        assert (call.billed_usd == "0") == (status == "failed")

    at_a_desk(steps)


def test_it_is_gone_after_its_retention_and_an_id_that_never_was_is_unknown() -> None:
    async def steps(desk: Desk) -> None:
        desk.simulator.faults["openai"].keeping.retention_s = 0.05
        made = await desk.create()
        gone = await soon(
            lambda: desk.look(made["id"]), lambda found: found["http"] == 404, within_s=10
        )
        assert gone["error"]["type"] == "invalid_request_error"
        assert (await desk.cancel("resp_none"))["http"] == 404

    at_a_desk(steps)


def test_a_response_whose_making_was_not_heard_of_is_found_by_its_key() -> None:
    async def steps(desk: Desk) -> None:
        desk.simulator.faults["openai"].keeping.idempotent = True
        desk.simulator.faults["openai"].plan = ["lost"]
        with pytest.raises(ClientError):
            await desk.create(key="a-1")
        found = await desk.create(key="a-1")
        await desk.until(found["id"], "completed")
        assert len(desk.simulator.calls) == 1
        other = await desk.create(key="a-2")
        assert other["id"] != found["id"]
        desk.simulator.faults["openai"].keeping.idempotent = False
        assert (await desk.create(key="a-1"))["id"] != found["id"], "not every provider does"

    at_a_desk(steps)


def test_a_look_can_be_made_to_fail() -> None:
    async def steps(desk: Desk) -> None:
        made = await desk.create()
        desk.simulator.faults["openai"].keeping.looks = ["503", "ok"]
        assert (await desk.look(made["id"]))["http"] == 503
        assert (await desk.look(made["id"]))["http"] == 200

    at_a_desk(steps)
