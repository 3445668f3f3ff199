"""Intents in, results, dead letters and cost rows out, on real parts."""

import base64
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from schemas.export import json_schema
from schemas.provider_settings import DEFAULT_MODEL
from streams.store.clickhouse import ClickHouse
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually

pytestmark = pytest.mark.integration
QUICK = {"latency_ms": 5, "retry_after": "0.1"}


@pytest.fixture
def case(stack: RunningStack) -> Iterator[Case]:
    stack.set_faults({"openai": QUICK, "azure": QUICK})
    yield Case(stack)
    stack.set_faults({"openai": QUICK, "azure": QUICK})


def fail(case: Case, **faults: dict[str, Any]) -> None:
    case.stack.set_faults({name: {**QUICK, **changes} for name, changes in faults.items()})


def test_without_a_word_of_the_model_the_default_one_serves_and_has_its_price(case: Case) -> None:
    """And with no configuration but keys, as README's first intent is published."""
    for kind, provider in (("message_generation", "openai"), ("content_planning", "azure")):
        one = Case(case.stack)
        one.publish(one.intent({"note": "[[sim:tokens=1500]]"}, type=kind))
        result, (call,) = one.result(), one.calls()
        assert (result["provider"], result["model"], call["model"]) == (
            provider, DEFAULT_MODEL, DEFAULT_MODEL,
        )  # fmt: skip
        assert 0 < Decimal(result["cost_info"]["cost_usd"]) == Decimal(call["billed_usd"])


def test_an_intent_becomes_one_result_with_its_cost(case: Case) -> None:
    model = "gpt-3.5-turbo"  # of the contract, with its price
    case.publish(
        case.intent(
            {"note": "[[sim:tokens=1500]]"}, tenant="acme", metadata={"ticket": 7}, model=model
        ),
        headers={"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    )
    result = case.result()
    assert (result["provider"], result["model"]) == ("openai", model)
    assert result["cost_info"]["tokens"] == 1500
    assert (result["cost_info"]["cost_usd"], result["total_cost_usd"]) == ("0.003", "0.003")
    assert result["metadata"] == {
        "attempt": 1,
        "total_retries": 0,
        "success": True,
        "cached": False,
        "fallback": False,
    }
    assert result["request_metadata"] == {"ticket": 7}
    timings = result["timings"]
    parts = ("queued_ms", "limiter_ms", "backoff_ms", "provider_ms")
    assert sum(timings[name] for name in parts) == timings["total_ms"]
    required = set(json_schema("WorkflowResult")["required"])
    assert required <= set(result)


def test_2000_tokens_on_azure_cost_0_02(case: Case) -> None:
    data = {"note": "[[sim:tokens=2000]]"}
    case.publish(case.intent(data, type="content_planning", model="gpt-4-turbo"))
    result = case.result()
    assert (result["provider"], result["cost_info"]["cost_usd"]) == ("azure", "0.02")


def test_4000_characters_without_usage_are_about_1000_tokens_and_estimated(case: Case) -> None:
    """Of a model whose tokenizer is not known; of others the tokens are counted."""
    data = {"note": "[[sim:no_usage,chars=4000]]"}
    case.publish(case.intent(data, model="llama-3-70b"))
    info = case.result()["cost_info"]
    assert (info["output_tokens"], info["estimated"]) == (1000, True)
    other = Case(case.stack)
    other.publish(other.intent(data, model="gpt-3.5-turbo"))
    info = other.result()["cost_info"]
    assert (info["output_tokens"], info["estimated"]) == (500, True)


def test_openai_down_means_azure_serves_and_the_history_says_why(case: Case) -> None:
    fail(case, openai={"always": "503"})
    case.publish(case.intent())
    result = case.result()
    assert (result["provider"], result["metadata"]["fallback"]) == ("azure", True)
    step = result["fallback_history"][0]
    assert (step["from"], step["to"], step["reason"]) == ("openai", "azure", "openai_server_error")
    assert (len(case.calls("openai")), len(case.calls("azure"))) == (4, 1)


def test_azure_down_means_openai_serves(case: Case) -> None:
    fail(case, azure={"always": "reset"})
    case.publish(case.intent(type="content_planning"))
    result = case.result()
    assert result["provider"] == "openai"
    assert result["fallback_history"][0]["reason"] == "azure_connection"


def test_both_down_ends_each_intent_once_after_the_deferrals(case: Case) -> None:
    fail(case, openai={"always": "500"}, azure={"always": "500"})
    case.publish(*(case.intent() for _ in range(3)))
    found = case.wait(3)
    assert not found.results
    assert [len(letters) for letters in found.dead_letters.values()] == [1, 1, 1]
    letter = next(iter(found.dead_letters.values()))[0]
    assert (letter["reason"], letter["retriable"]) == ("exhausted", True)
    # Three deferrals: four executions of four calls on each of two providers.
    assert len(case.calls()) == 3 * 4 * 8


def test_a_400_is_one_call_and_no_retry(case: Case) -> None:
    case.publish(case.intent({"note": "[[sim:status=400]]"}))
    letter = case.dead_letter()
    assert (letter["reason"], letter["error_class"]) == ("rejected", "validation")
    assert len(case.calls()) == 1


def test_a_provider_that_hangs_gets_4_calls_and_then_the_other_serves(case: Case) -> None:
    fail(case, openai={"always": "hang"})
    case.publish(case.intent())
    result = case.result()
    assert result["provider"] == "azure"
    assert (len(case.calls("openai")), len(case.calls("azure"))) == (4, 1)
    assert result["timings"]["provider_ms"] >= 4 * 3000


def test_a_retry_is_counted_and_its_wait_is_shown_apart(case: Case) -> None:
    fail(case, openai={"plan": ["503", "429"]})
    case.publish(case.intent())
    result = case.result()
    assert result["metadata"]["attempt"] == 3
    assert result["metadata"]["total_retries"] == 2
    assert result["timings"]["backoff_ms"] >= 200


def test_an_expired_key_defers_and_resumes_by_itself(case: Case) -> None:
    fail(case, openai={"always": "401"}, azure={"always": "401"})
    case.publish(case.intent())
    eventually(case.calls, lambda calls: len(calls) >= 4)
    assert case.outcomes().count() == 0
    fail(case, openai={}, azure={})
    assert case.result()["metadata"]["fallback"] is True


def test_the_same_intent_again_and_at_once_runs_once(case: Case) -> None:
    fail(case, openai={"latency_ms": 400})
    intent = case.intent(deduplication_id=f"d-{case.name}")
    case.publish(intent, intent, intent)
    case.result()
    case.publish(intent)
    last = case.intent()
    case.publish(last)
    case.wait(2)
    store = ClickHouse(case.stack.settings)
    try:
        events = eventually(
            lambda: store.rows(
                "SELECT count() FROM workflow_events FINAL WHERE name = 'duplicate_ignored' "
                "AND intent_id = {id:String}",
                {"id": intent["intent_id"]},
            )[1][0][0],
            lambda count: count == 3,
        )
    finally:
        store.close()
    assert events == 3
    assert len([one for one in case.calls() if one["intent"] == intent["intent_id"]]) == 1
    assert not case.outcomes().doubled()


def test_a_deadline_and_a_money_limit_end_an_intent(case: Case) -> None:
    fail(case, openai={"always": "503"}, azure={"always": "503"})
    case.publish(case.intent(deadline_ms=900))
    letter = case.dead_letter()
    assert letter["reason"] == "deadline"


def test_a_forced_provider_is_kept(case: Case) -> None:
    case.publish(case.intent(force_provider="azure"))
    assert case.result()["provider"] == "azure"


def test_a_wanted_schema_is_held_and_repaired_once(case: Case) -> None:
    schema = {"type": "integer", "minimum": 7}
    case.publish(case.intent({"note": "[[sim:text=42]]"}, response_schema=schema))
    assert case.result()["structured"] == 42
    other = Case(case.stack)
    other.publish(other.intent({"note": "[[sim:text=nonsense]]"}, response_schema=schema))
    letter = other.dead_letter()
    assert (letter["reason"], letter["error_code"]) == ("exhausted", "schema_mismatch")
    assert len(other.calls()) == 4
    assert Decimal(letter["spent_usd"]) > 0


POISON = {
    "not utf-8": (b"\xff\xfe\x00", "poison", "not_utf8"),
    "not json": (b"{nope", "poison", "not_json"),
    "empty": (b"", "poison", "not_json"),
    "null": (None, "poison", "null_value"),
    "deep": (b'{"data":' + b"[" * 5000, "poison", "too_deep"),
    "wrong shape": (b'{"type": 1}', "invalid_intent", "invalid_fields"),
    "too large": (b'{"x": "' + b"y" * 1_060_000 + b'"}', "invalid_intent", "too_large"),
}


@pytest.mark.parametrize("name", POISON)
def test_poison_becomes_a_dead_letter_with_the_exact_bytes(case: Case, name: str) -> None:
    value, reason, code = POISON[name]
    key = f"{case.name}-poison"
    case.publish_raw(value, key=key, headers={"x-mine": b"\x00\xff"})
    after = case.intent()
    case.publish(after)
    letter = eventually(lambda: _letter_of(case, key), bool)
    assert (letter["reason"], letter["error_code"]) == (reason, code)
    stored = letter["original"]["value"]
    assert (None if stored is None else base64.b64decode(stored)) == value
    assert base64.b64decode(letter["original"]["key"]) == key.encode()
    headers = {name: base64.b64decode(raw) for name, raw in letter["original"]["headers"]}
    assert headers["x-mine"] == b"\x00\xff"
    assert case.wait(1).results


def _letter_of(case: Case, key: str) -> dict[str, Any] | None:
    import asyncio

    from streams.kafka.reading import read_topic

    async def find() -> dict[str, Any] | None:
        settings = case.stack.settings
        async for record in read_topic(settings, settings.topics.dead_letters):
            if record.key == key.encode():
                names = [name for name, _ in record.headers]
                assert "__dlq.errors.reason" in names
                document: dict[str, Any] = json.loads(record.value)
                return document
        return None

    return asyncio.run(find())


def test_the_bill_is_the_simulators_to_the_last_digit(case: Case) -> None:
    case.publish(*(case.intent() for _ in range(10)))
    case.wait(10)
    ids = {entry["attempt_id"] for entry in case.calls()}
    billed = sum(Decimal(entry["billed_usd"]) for entry in case.calls())
    store = ClickHouse(case.stack.settings)
    try:
        rows = eventually(
            lambda: store.rows(
                "SELECT toString(attempt_id), toString(cost_usd) FROM provider_attempts FINAL "
                "WHERE startsWith(intent_id, {name:String}) AND status = 'finished'",
                {"name": case.name},
            )[1],
            lambda found: len(found) == 10,
        )
    finally:
        store.close()
    assert {row[0] for row in rows} == ids
    assert sum(Decimal(row[1]) for row in rows) == billed


def test_no_content_key_or_secret_is_in_any_log(case: Case) -> None:
    planted = "pl4nted-c0ntent"
    case.publish(
        case.intent({"note": planted}),
        case.intent({"note": f"{planted} [[sim:status=400]]"}),
        case.intent({"note": planted}, priority=planted),
        case.intent({"note": f"{planted} [[sim:text={planted}]]"}),
    )
    case.wait(4)
    logs = list((case.stack.stack.folder / "logs").glob("*.log"))
    text = "".join(path.read_text(errors="replace") for path in logs)
    assert len({json.loads(line)["event"] for line in text.splitlines() if line[:1] == "{"}) >= 10
    assert planted not in text
    assert "simulated" not in text.replace("simulated providers at", "")
