"""The client's parts without I/O: what it imports, refuses, publishes, raises."""

import asyncio
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from hybrid.client import (
    AzureExecutionError,
    DeadLetter,
    DeadLetterError,
    HybridClient,
    HybridSyncClient,
    IntentRefusedError,
    OpenAIExecutionError,
    UsageError,
    WorkflowIntent,
)
from hybrid.client.errors import ExecutionTimeoutError, dead_letter_error
from hybrid.client.following import Start, check_start
from hybrid.client.outcomes import outcome_of
from hybrid.client.waiting import Memory, Waiter, Waiters, id_of
from schemas.topics import Topics
from tests.builders import a_result, a_task

ROOT = Path(__file__).resolve().parents[2]
TOPICS = Topics("workflow", (10.0,), 86_400)
INTENT = {"type": "message_generation", "user_id": "u", "data": {"x": 1}}
KINDS = {"openai": "openai", "azure": "azure", "eu": "azure", "local": "vllm"}
#: What aiokafka and pydantic bring themselves, under the names of their modules.
LIGHT = {
    "aiokafka", "pydantic", "annotated_types", "async_timeout", "cramjam", "packaging",
    "pydantic_core", "typing_extensions", "typing_inspection",
    "schemas", "agents", "streams", "hybrid",
}  # fmt: skip


def test_importing_it_loads_aiokafka_and_pydantic_only() -> None:
    script = (
        "import sys; before = set(sys.modules); import hybrid.client; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before"
        " if getattr(sys.modules[name], '__file__', None)})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {
        name
        for name in done.stdout.split()
        if name not in sys.stdlib_module_names and not name.startswith(("_", "cython_"))
    }
    assert "aiokafka" in loaded
    assert loaded - LIGHT == set()


@pytest.fixture
def client() -> HybridClient:
    return HybridClient(kafka_bootstrap_servers="127.0.0.1:9")


def test_an_intent_gets_an_id_that_is_its_key(client: HybridClient) -> None:
    one, other = client.record(INTENT), client.record(INTENT)
    assert one.intent_id != other.intent_id
    assert one.is_fresh
    assert one.key == one.intent_id.encode()
    assert json.loads(one.value) == {"intent_id": one.intent_id, **INTENT}
    assert one.topic == "workflow.intents"
    assert client.record({**INTENT, "priority": "high"}).topic == "workflow.intents.urgent"


def test_the_same_work_of_a_tenant_has_the_same_id(client: HybridClient) -> None:
    same = {**INTENT, "deduplication_id": "order-1"}
    one, other = client.record(same), client.record({**same, "intentId": None})
    assert one.intent_id == other.intent_id
    assert (one.key, one.is_fresh) == (b"order-1", False)
    assert client.record({**same, "tenant": "acme"}).intent_id != one.intent_id


def test_a_model_is_published_as_it_was_made(client: HybridClient) -> None:
    record = client.record(
        WorkflowIntent.model_validate({**INTENT, "intent_id": "i-1", "max_cost_usd": "0.10"}),
        headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    )
    assert json.loads(record.value)["max_cost_usd"] == "0.10"
    assert record.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert client.record(record) is record


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("text", "an intent is a dict or a WorkflowIntent, not str"),
        ({"type": "x"}, r"the intent is refused \(invalid_fields\): user_id: Field required"),
        ({**INTENT, "data": {"x": object()}}, r"\(not_json\).*cannot be written as JSON"),
        ({**INTENT, "data": {"x": float("nan")}}, r"\(not_finite\)"),
        ({**INTENT, "data": {"x": "y" * 2_000_000}}, r"\(too_large\)"),
    ],
)
def test_what_is_no_intent_is_refused_in_a_sentence(
    client: HybridClient, given: Any, said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        client.record(given)
    assert "\n" not in str(caught.value)


def test_a_field_that_means_nothing_is_refused_where_that_is_set() -> None:
    strict = HybridClient(kafka_bootstrap_servers="x:1", hybrid_unknown_fields="refuse")
    with pytest.raises(IntentRefusedError, match="no field of an intent: colour"):
        strict.record({**INTENT, "colour": "red"})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kafka_bootstrap_servers": "http://x"}, "KAFKA_BOOTSTRAP_SERVERS"),
        ({"bootstrap_servers": "x:1"}, "no setting of a client: bootstrap_servers; there are: "),
        ({"kafka_sasl_mechanism": "PLAIN"}, "is not used with KAFKA_SECURITY_PROTOCOL"),
        ({"look_back": 90_000}, "must be 0 to 86400 seconds"),
        ({"publish_timeout": 0}, "publish_timeout = 0: must be seconds above 0"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        HybridClient(**{"kafka_bootstrap_servers": "x:1", **settings})


def test_variables_are_read_as_everywhere_but_only_those_of_a_client(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("pa55\n")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker:9092")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "alice")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD_FILE", str(secret))
    monkeypatch.setenv("HYBRID_TOPIC_PREFIX", "acme")
    monkeypatch.setenv("CLICKHOUSE_URL", "no address at all")
    monkeypatch.setenv("HYBRID_RETRY_DELAYS", "nonsense")
    client = HybridClient()
    assert client.record(INTENT).topic == "acme.intents"
    assert client._settings.kafka_sasl_password is not None
    assert client._settings.kafka_sasl_password.get_secret_value() == "pa55"
    assert HybridClient(hybrid_topic_prefix="globex").record(INTENT).topic == "globex.intents"


def test_a_client_that_is_not_open_says_how_to_open_it(client: HybridClient) -> None:
    with pytest.raises(UsageError, match="async with HybridClient"):
        asyncio.run(client.execute(INTENT))
    with pytest.raises(UsageError, match="with HybridSyncClient"):
        HybridSyncClient(kafka_bootstrap_servers="x:1").execute(INTENT)


def test_wrong_arguments_are_refused_in_a_sentence(client: HybridClient) -> None:
    async def run() -> None:
        async with client:
            with pytest.raises(UsageError, match="timeout = -1: must be seconds above 0"):
                await client.execute(INTENT, timeout=-1)
            with pytest.raises(UsageError, match="for one there is publish"):
                await client.publish_many(INTENT)  # type: ignore[arg-type]
            with pytest.raises(UsageError, match="producer= takes a started AIOKafkaProducer"):
                await client.publish(INTENT, producer=object())
            with pytest.raises(UsageError, match="wait takes an intent's id, not ''"):
                await client.wait("")
            with pytest.raises(UsageError, match="has no time zone"):
                client.outcomes(since=datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused
        other = HybridClient(kafka_bootstrap_servers="x:1")
        async with other:
            with pytest.raises(UsageError, match="another event loop"):
                await asyncio.to_thread(lambda: asyncio.run(other.publish(INTENT)))

    asyncio.run(run())
    with pytest.raises(UsageError, match="leave since and after out, or the group"):
        check_start("billing", Start(None, {}))


# ── errors ──────────────────────────────────────────────────────────────────────────────────


def a_letter(**changes: Any) -> DeadLetter:
    call = {"attempt_id": "a", "provider": "openai", "attempt": 1, "http_status": 429}
    return DeadLetter.model_validate(
        {
            "dead_letter_id": "d", "intent_id": "i-1", "reason": "exhausted",
            "error_class": "rate_limit", "error_code": "rate_limit_exceeded",
            "error_message": "too many requests", "retriable": True, "suggested_action": "replay it",
            "attempts": [call, {**call, "provider": "azure", "http_status": 503}],
            "spent_usd": "0.003", "original": {}, "failed_at": "2026-01-31T09:30:00Z",
            "source": {"topic": "t", "partition": 0, "offset": 0, "timestamp": "2026-01-31T09:30:00Z"},
            **changes,
        }
    )  # fmt: skip


def test_an_error_carries_class_code_status_attempts_trace_and_cost() -> None:
    letter = a_letter(trace_context={"trace_id": "t-1"})
    error = dead_letter_error(letter, KINDS)
    assert type(error) is AzureExecutionError
    assert isinstance(error, DeadLetterError)
    assert (error.reason, error.error_class, error.code) == (
        "exhausted", "rate_limit", "rate_limit_exceeded",
    )  # fmt: skip
    assert (error.status, error.attempts, error.trace_id, str(error.cost_usd)) == (
        503, 2, "t-1", "0.003",
    )  # fmt: skip
    assert (error.provider, error.retriable, error.intent_id) == ("azure", True, "i-1")
    assert str(error) == (
        "intent i-1 ended as a dead letter (exhausted, rate_limit_exceeded): "
        "too many requests; replay it"
    )


@pytest.mark.parametrize(
    ("provider", "reason", "kind"),
    [
        ("openai", "rejected", OpenAIExecutionError),
        ("eu", "exhausted", AzureExecutionError),
        ("local", "exhausted", DeadLetterError),
        ("unheard-of", "exhausted", DeadLetterError),
        ("openai", "deadline", DeadLetterError),
        ("openai", "internal", DeadLetterError),
        (None, "budget", DeadLetterError),
    ],
)
def test_the_class_says_whose_answer_ended_it(
    provider: str | None, reason: str, kind: type[Exception]
) -> None:
    calls = [{"attempt_id": "a", "provider": provider, "attempt": 1}] if provider else []
    error = dead_letter_error(
        a_letter(reason=reason, attempts=calls), KINDS, trace_id="from header"
    )
    assert type(error) is kind
    assert error.trace_id == "from header"


def test_a_time_out_is_also_pythons_and_says_that_the_intent_runs_on() -> None:
    error = ExecutionTimeoutError("i-1", timeout=60, is_published=True)
    assert isinstance(error, TimeoutError)
    assert (error.code, error.attempts, error.cost_usd) == ("no_outcome_in_time", None, None)
    assert "within 60 s; it still runs" in str(error)
    unknown = ExecutionTimeoutError("i-1", timeout=1, is_published=None)
    assert "was never published" in str(unknown)


def test_a_client_that_was_opened_before_a_fork_says_so() -> None:
    with HybridSyncClient(kafka_bootstrap_servers="x:1") as client:
        client._process += 1  # as in a child, where the thread is not
        with pytest.raises(UsageError, match="opened before a fork"):
            client.publish(INTENT)
        client._process -= 1


# ── waiting ─────────────────────────────────────────────────────────────────────────────────


def a_record(
    topic: str, value: bytes, *, offset: int = 0, intent_id: str = "i-1"
) -> ConsumerRecord:
    headers = [("intent-id", intent_id.encode())]
    return ConsumerRecord(
        topic=topic, partition=0, offset=offset, timestamp=1_700_000_000_000, timestamp_type=0,
        key=intent_id.encode(), value=value, checksum=None, serialized_key_size=0,
        serialized_value_size=len(value), headers=headers,
    )  # fmt: skip


RESULT = a_record(TOPICS.results, a_result(a_task()).to_json(), offset=5)


def letter_record(**changes: Any) -> ConsumerRecord:
    return a_record(TOPICS.dead_letters, a_letter(**changes).to_json())


def test_a_result_behind_a_dead_letter_that_was_there_already_wins() -> None:
    """A replay: the dead letter is history."""

    async def run() -> None:
        waiters = Waiters(TOPICS)
        waiter = Waiter("i-1", "default", (), publishes=True)
        waiters.add(waiter)
        waiters.give("i-1", letter_record())
        assert waiter.is_found
        assert not waiter.future.done()
        waiters.give("i-1", RESULT)
        assert (await waiter.outcome()).result is not None

    asyncio.run(run())


def test_a_dead_letter_that_was_there_already_is_the_outcome_where_nothing_follows() -> None:
    async def run() -> None:
        waiters = Waiters(TOPICS)
        waiter = Waiter("i-1", "default", (), publishes=True)
        waiters.add(waiter)
        waiters.give("i-1", letter_record())
        assert (await waiter.outcome()).dead_letter is not None

    asyncio.run(run())


def test_what_was_invalid_before_may_be_published_anew() -> None:
    async def run() -> None:
        waiters = Waiters(TOPICS)
        waiter = Waiter("i-1", "acme", (), publishes=True)
        waiters.add(waiter)
        waiters.give("i-1", letter_record(reason="invalid_intent"))
        assert not waiter.is_found
        waiter.is_published = True
        waiters.give("i-1", letter_record(reason="invalid_intent"))
        assert (await waiter.outcome()).dead_letter is not None

    asyncio.run(run())


def test_who_only_waits_gets_what_was_invalid() -> None:
    async def run() -> None:
        waiters = Waiters(TOPICS)
        waiter = Waiter("i-1", None, (), publishes=False)
        waiters.add(waiter)
        waiters.give("i-1", letter_record(reason="invalid_intent"))
        assert (await waiter.outcome()).dead_letter is not None

    asyncio.run(run())


def test_another_tenants_outcome_of_the_same_id_is_passed_over() -> None:
    async def run() -> None:
        waiters = Waiters(TOPICS)
        waiter, anybody = (
            Waiter("i-1", "acme", (), publishes=True),
            Waiter("i-1", None, (), publishes=False),
        )
        for one in (waiter, anybody):
            waiters.add(one)
        waiters.give("i-1", RESULT)
        assert (waiter.is_found, anybody.is_found) == (False, True)
        waiters.remove(waiter)
        waiters.remove(anybody)
        assert list(waiters) == []

    asyncio.run(run())


def test_the_memory_keeps_the_newest_places() -> None:
    memory = Memory(2)
    for number in range(3):
        memory.note(f"i-{number}", a_record(TOPICS.results, b"", offset=number))
    tp = TopicPartition(TOPICS.results, 0)
    assert [memory.place(tp, f"i-{number}") for number in range(3)] == [None, 1, 2]


def test_what_a_stranger_wrote_to_an_outcome_topic_is_nobodys() -> None:
    assert outcome_of(TOPICS, a_record(TOPICS.results, b"\xff")) is None
    assert outcome_of(TOPICS, RESULT) is not None
    stranger = a_record(TOPICS.dead_letters, b"{}", intent_id="")
    assert id_of(TOPICS, stranger) is None


def test_words_of_a_newer_worker_do_not_hide_a_dead_letter() -> None:
    document = json.loads(a_letter().to_json()) | {"reason": "eclipse", "error_class": "lunar"}
    found = outcome_of(TOPICS, a_record(TOPICS.dead_letters, json.dumps(document).encode()))
    assert found is not None
    assert found.dead_letter is not None
    assert (found.dead_letter.reason, found.dead_letter.error_class) == ("internal", "unknown")
    assert found.dead_letter.error_code == "rate_limit_exceeded"
