"""`hybrid trace` on a running stack: every kind of id, both sources, before and after the end."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from hybrid.stack.process import free_port
from streams.stories.building import story_of
from streams.stories.finding import Source, UnknownIdError, find_record
from streams.stories.topics import kafka_records
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration


@pytest.fixture
def local(stack: RunningStack) -> dict[str, str]:
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    return stack.stack.environment()


def traced(identifier: str, local: dict[str, str], source: Source = Source.AUTO) -> dict[str, Any]:
    done = hybrid(
        "trace", identifier, "--source", source.value, "--format", "json", environment=local
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def found(stack: RunningStack, identifier: str, source: Source) -> Any:
    """The record as the command gets it; None while there is none."""
    try:
        return asyncio.run(find_record(stack.settings, identifier, source=source))
    except UnknownIdError:
        return None


def kinds(told: dict[str, Any]) -> list[str]:
    """What happened, without waits that a slow machine makes longer or shorter."""
    return [one["kind"] for one in told["spans"] if one["kind"] not in {"queue", "commit"}]


def test_a_success_is_told_by_any_id_from_both_sources(
    stack: RunningStack, local: dict[str, str]
) -> None:
    case = Case(stack)
    case.publish(case.intent(deduplication_id=f"{case.name}-d", tenant=case.name))
    result, intent_id = case.result(), f"{case.name}-1"
    told = traced(intent_id, local)
    assert told["headline"].startswith("Completed after ")
    assert told["headline"].endswith(" at openai")
    assert (told["status"], told["tenant"], kinds(told)) == ("completed", case.name, ["call"])
    call = next(one for one in told["spans"] if one["kind"] == "call")
    assert call["attempt_id"] == case.calls()[0]["attempt_id"]
    assert told["cost_usd"] == result["total_cost_usd"]
    place = found(stack, intent_id, Source.KAFKA).endings[0].place
    named = (call["attempt_id"], call["provider_request_id"], result["result_id"], place)
    for identifier in (*named, f"{case.name}-d"):
        assert found(stack, identifier, Source.KAFKA).intent_id == intent_id
    kept = eventually(
        lambda: found(stack, intent_id, Source.CLICKHOUSE),
        lambda record: record is not None and record.endings and record.calls[0].finished,
    )
    assert story_of(kept, datetime.now(UTC)).headline == told["headline"]
    for identifier in named:
        assert found(stack, identifier, Source.AUTO).intent_id == intent_id


def test_all_topics_are_known_also_after_some_partitions_were_read(stack: RunningStack) -> None:
    """A client that has partitions forgets the topics of others when it looks at the cluster."""
    case = Case(stack)
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {}})
    case.publish(case.intent())
    result = case.result()

    async def search() -> list[str]:
        async with kafka_records(stack.settings, limit_s=30) as kafka:
            place = (await kafka.of_intent(result["intent_id"], begins={})).endings[0].place
            topic, partition, offset = place.split(":")
            await kafka.intent_at(topic, int(partition), int(offset))
            await kafka._reader._client.force_metadata_update()
            return (await kafka.intents_named(result["result_id"], begins={}))[0]

    assert asyncio.run(search()) == [result["intent_id"]]


def test_retries_and_a_fallback_are_drawn_with_their_because(
    stack: RunningStack, local: dict[str, str]
) -> None:
    case = Case(stack)
    stack.set_faults({"openai": {"always": "503"}, "azure": {"latency_ms": 5}})
    case.publish(case.intent())
    assert case.result()["provider"] == "azure"
    told = traced(f"{case.name}-1", local)
    assert told["headline"].endswith(" at azure: openai answered 503 four times")
    assert kinds(told) == ["call", *("backoff", "call") * 3, "fallback", "call"]
    assert told["spent_ms"]["backoff"] >= 700
    drawn = hybrid("trace", f"{case.name}-1", environment={**local, "COLUMNS": "80"})
    assert "openai → azure: openai answered 503" in drawn.stdout
    assert f"{case.name}-1" in drawn.stdout


def test_a_dead_letter_is_told_without_clickhouse_too(
    stack: RunningStack, local: dict[str, str]
) -> None:
    case = Case(stack)
    stack.set_faults({"openai": {"always": "400"}, "azure": {}})
    case.publish(case.intent())
    letter = case.dead_letter()
    away = {**local, "CLICKHOUSE_URL": f"http://127.0.0.1:{free_port()}/hybrid"}
    told = traced(letter["dead_letter_id"], away)
    assert told["headline"].startswith("Ended as a dead letter (rejected, ")
    assert told["headline"].endswith(": openai answered 400")
    assert told["outcome"]["suggested_action"] == letter["suggested_action"]
    assert told["notes"][0].endswith(": read from Kafka alone")
    refused = hybrid("trace", case.name, "--source", "clickhouse", environment=away)
    assert refused.returncode == 2


def test_what_is_put_off_is_followed_to_its_result(
    stack: RunningStack, local: dict[str, str]
) -> None:
    case = Case(stack)
    refusing = {"always": "429", "retry_after": "6"}
    stack.set_faults({"openai": refusing, "azure": refusing})
    case.publish(case.intent())
    identifier = f"{case.name}-1"
    put_off = eventually(
        lambda: hybrid("trace", identifier, "--format", "json", environment=local),
        lambda done: '"status": "deferred"' in done.stdout,
    )
    told = json.loads(put_off.stdout)
    assert told["due_at"] is not None
    assert (told["spans"][-1]["kind"], told["spans"][-1]["ended_at"]) == ("deferral", None)
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    followed = hybrid("trace", identifier, "--follow", "--format", "json", environment=local)
    stories = [json.loads(line) for line in followed.stdout.splitlines()]
    assert stories[-1]["status"] == "completed"
    assert "as every provider asked for fewer calls" in stories[-1]["headline"]
    assert stories[-1]["deferrals"] >= 1


def test_an_id_of_nothing_is_refused_in_one_sentence(local: dict[str, str]) -> None:
    done = hybrid("trace", "no-such-intent", environment=local)
    assert done.returncode == 1
    assert done.stderr.startswith("hybrid: nothing is on record of no-such-intent in ClickHouse")
    gone = hybrid("trace", "workflow.intents:0:999999999", environment=local)
    assert (gone.returncode, "no record of an intent is there" in gone.stderr) == (1, True)


def test_what_has_no_result_is_led_to_its_dead_letter_and_content_stays_hidden(
    stack: RunningStack, local: dict[str, str]
) -> None:
    case = Case(stack)
    stack.set_faults({"openai": {"always": "400"}, "azure": {}})
    case.publish(case.intent({"wish": "a poem about autumn"}, tenant=case.name))
    identifier = case.dead_letter()["dead_letter_id"]
    none = hybrid("results", "--intent-id", f"{case.name}-1", environment=local)
    assert (none.returncode, none.stdout) == (0, "")
    assert (
        f"it ended as a dead letter (rejected, invalid_request_error); see `hybrid dlq show {identifier}`"
        in none.stderr
    )
    listed = hybrid("dlq", "list", "--tenant", case.name, "--provider", "openai",
                    "--columns", "dead_letter_id,tenant", "--format", "json", environment=local)  # fmt: skip
    assert json.loads(listed.stdout) == [{"dead_letter_id": identifier, "tenant": case.name}]
    other = hybrid("dlq", "list", "--tenant", case.name, "--provider", "azure", environment=local)
    assert other.stdout.startswith("no dead letter like that: leave out a filter")
    shown = hybrid("dlq", "show", identifier, environment=local)
    assert json.loads(shown.stdout)["intent"]["tenant"] == case.name
    assert "(fields marker, wish; --content shows them)" in shown.stdout
    assert "poem" not in shown.stdout
    whole = hybrid("dlq", "show", identifier, "--content", environment=local)
    assert json.loads(whole.stdout)["intent"]["data"]["wish"] == "a poem about autumn"
