"""The simulator's Batch API, through the SDK that its users have: files, states, faults, the bill."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import openai
import pytest

from hybrid.stack import simulator
from hybrid.stack.process import free_port
from tests.integration.driving import soon

Steps = Callable[[openai.AsyncOpenAI, simulator.Simulator], Awaitable[None]]
ENDED = {"completed", "failed", "expired", "cancelled"}


def served(steps: Steps, path: str = "v1", **batching: Any) -> None:
    async def all_of_it() -> None:
        port, simulated = free_port(), simulator.Simulator()
        for faults in simulated.faults.values():
            faults.batching.turnaround_s = 0.2
            for name, value in batching.items():
                setattr(faults.batching, name, value)
        runner = await simulator.serve(simulated, port=port)
        address = f"http://127.0.0.1:{port}/{path}"
        try:
            async with openai.AsyncOpenAI(api_key="k", base_url=address, max_retries=0) as client:
                await steps(client, simulated)
        finally:
            await runner.cleanup()

    asyncio.run(all_of_it())


def line(number: int, text: str = "hello", **changes: Any) -> dict[str, Any]:
    body = {"model": "gpt-3.5-turbo", "messages": [{"role": "user", "content": text}]}
    url = "/v1/chat/completions"
    return {"custom_id": f"a-{number}", "method": "POST", "url": url, "body": body, **changes}


async def made(client: openai.AsyncOpenAI, *lines: Any, **metadata: str) -> Any:
    content = "".join(json.dumps(one) + "\n" for one in lines).encode()
    file = await client.files.create(file=("lines.jsonl", content), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata=metadata,
    )


async def ended(client: openai.AsyncOpenAI, identifier: str) -> Any:
    return await soon(
        lambda: client.batches.retrieve(identifier), lambda one: one.status in ENDED, within_s=10
    )


async def lines_of(client: openai.AsyncOpenAI, file: str | None) -> list[dict[str, Any]]:
    if file is None:
        return []
    text = (await client.files.content(file)).text
    return [json.loads(one) for one in text.splitlines()]


@pytest.mark.parametrize("path", ["v1", "openai/v1"])
def test_a_batch_is_validated_worked_on_and_completed_at_half_the_price(path: str) -> None:
    async def steps(client: openai.AsyncOpenAI, simulated: simulator.Simulator) -> None:
        batch = await made(client, *(line(one, "[[sim:tokens=100]]") for one in range(3)), own="x")
        assert (batch.status, batch.metadata) == ("validating", {"own": "x"})
        seen = set()

        async def look() -> Any:
            found = await client.batches.retrieve(batch.id)
            seen.add(found.status)
            return found

        done = await soon(look, lambda one: one.status == "completed", within_s=10)
        assert seen >= {"in_progress", "completed"}
        counts = done.request_counts
        assert (counts.total, counts.completed, counts.failed) == (3, 3, 0)
        answers = await lines_of(client, done.output_file_id)
        assert {one["custom_id"] for one in answers} == {"a-0", "a-1", "a-2"}
        assert {one["response"]["body"]["usage"]["total_tokens"] for one in answers} == {100}
        assert done.error_file_id is None
        price = Decimal("0.01") if path.startswith("openai") else Decimal("0.002")
        assert [Decimal(call.billed_usd) for call in simulated.calls] == [price / 10 / 2] * 3
        assert {call.batch for call in simulated.calls} == {batch.id}
        assert {call.attempt_id for call in simulated.calls} == {"a-0", "a-1", "a-2"}

    served(steps, path)


def test_lines_that_fail_are_in_the_error_file_and_bill_nothing() -> None:
    async def steps(client: openai.AsyncOpenAI, simulated: simulator.Simulator) -> None:
        batch = await made(
            client, line(0), line(1, "[[sim:status=400]]"), line(2, "[[sim:batch_status=500]]")
        )
        done = await ended(client, batch.id)
        assert done.status == "completed"
        (good,) = await lines_of(client, done.output_file_id)
        errors = await lines_of(client, done.error_file_id)
        assert good["custom_id"] == "a-0"
        found = {one["custom_id"]: one["response"]["status_code"] for one in errors}
        assert found == {"a-1": 400, "a-2": 500}
        assert all(one["response"]["body"]["error"]["code"] for one in errors)
        bills = {call.attempt_id: Decimal(call.billed_usd) for call in simulated.calls}
        assert bills["a-1"] == bills["a-2"] == 0 < bills["a-0"]

    served(steps)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([line(0), line(0)], "duplicate_custom_id"),
        ([line(0), line(1, body={"model": "other", "messages": []})], "mismatched_model"),
        ([line(0, url="/v1/responses")], "mismatched_url"),
        ([{"custom_id": "x"}], "invalid_json_line"),
        ([], "wrong_size"),
    ],
)
def test_what_is_no_batch_fails_its_validation_whole(lines: list[Any], code: str) -> None:
    async def steps(client: openai.AsyncOpenAI, simulated: simulator.Simulator) -> None:
        batch = await made(client, *lines)
        done = await ended(client, batch.id)
        assert done.status == "failed"
        assert code in {one.code for one in done.errors.data}
        assert (done.output_file_id, list(simulated.calls)) == (None, [])

    served(steps)


def test_a_pool_that_is_full_fails_a_batch_until_what_is_in_it_has_ended() -> None:
    async def steps(client: openai.AsyncOpenAI, _simulated: simulator.Simulator) -> None:
        text = "hello " * 20  # 30 tokens
        first = await made(client, line(0, text))
        second = await made(client, line(1, text))
        done = await ended(client, second.id)
        assert done.status == "failed"
        assert [one.code for one in done.errors.data] == ["token_limit_exceeded"]
        assert (await ended(client, first.id)).status == "completed"
        third = await made(client, line(2, text))
        assert (await ended(client, third.id)).status == "completed"

    served(steps, most_enqueued=40)


def test_one_that_expires_half_done_names_the_lines_that_were_not() -> None:
    async def steps(client: openai.AsyncOpenAI, simulated: simulator.Simulator) -> None:
        batch = await made(client, *map(line, range(10)))
        done = await ended(client, batch.id)
        assert done.status == "expired"
        answers = await lines_of(client, done.output_file_id)
        errors = await lines_of(client, done.error_file_id)
        assert len(answers) == len(simulated.calls) == 5
        assert {one["error"]["code"] for one in errors} == {"batch_expired"}
        names = {one["custom_id"] for one in (*answers, *errors)}
        assert names == {f"a-{one}" for one in range(10)}

    served(steps, plan=["expires"])


def test_a_cancelled_one_gives_what_was_answered_before() -> None:
    async def steps(client: openai.AsyncOpenAI, simulated: simulator.Simulator) -> None:
        batch = await made(client, *map(line, range(40)))

        async def some() -> int:
            return len(simulated.calls)

        await soon(some, bool, within_s=10)
        assert (await client.batches.cancel(batch.id)).status == "cancelling"
        done = await ended(client, batch.id)
        assert done.status == "cancelled"
        answers = await lines_of(client, done.output_file_id)
        assert 0 < len(answers) == len(simulated.calls) < 40
        with pytest.raises(openai.ConflictError):
            await client.batches.cancel(batch.id)

    served(steps, turnaround_s=2.0)


def test_one_of_which_nothing_was_heard_is_found_by_its_metadata() -> None:
    async def steps(client: openai.AsyncOpenAI, simulated: simulator.Simulator) -> None:
        first = await made(client, line(0), own="first")
        with pytest.raises(openai.APIConnectionError):
            await made(client, line(1), own="lost")
        with pytest.raises(openai.InternalServerError):
            await made(client, line(2), own="never")
        pages = [one async for one in client.batches.list(limit=1)]
        assert [one.metadata for one in pages] == [{"own": "lost"}, {"own": "first"}]
        assert {(await ended(client, one.id)).status for one in pages} == {"completed"}
        assert len(simulated.calls) == 2
        assert first.id == pages[1].id

    served(steps, plan=["ok", "lost", "500"])


def test_looks_and_uploads_fail_as_they_are_told_to() -> None:
    async def steps(client: openai.AsyncOpenAI, simulated: simulator.Simulator) -> None:
        with pytest.raises(openai.RateLimitError):
            await made(client, line(0))
        with pytest.raises(openai.APIConnectionError):
            await made(client, line(0))
        batch = await made(client, line(0))
        simulated.faults["openai"].batching.looks = ["503", "reset"]
        with pytest.raises(openai.InternalServerError):
            await client.batches.retrieve(batch.id)
        with pytest.raises(openai.APIConnectionError):
            await client.batches.retrieve(batch.id)
        await ended(client, batch.id)

    served(steps, uploads=["429", "lost"])


def test_files_are_listed_read_and_deleted() -> None:
    async def steps(client: openai.AsyncOpenAI, simulated: simulator.Simulator) -> None:
        await made(client, line(0))
        (file,) = [one async for one in client.files.list()]
        assert (file.filename, file.purpose) == ("lines.jsonl", "batch")
        assert (await client.files.retrieve(file.id)).bytes == file.bytes
        assert (await lines_of(client, file.id))[0]["custom_id"] == "a-0"
        assert (await client.files.delete(file.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.content(file.id)
        with pytest.raises(openai.NotFoundError):
            await client.batches.retrieve("batch_x")
        assert simulated.faults

    served(steps, turnaround_s=0.01)
