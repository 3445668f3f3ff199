"""The reports against numbers counted by hand, on the engine and through the command."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agents.pricing.prices import PriceBook
from schemas.attempt import ProviderAttempt
from schemas.rows import attempt_row, result_row
from schemas.settings import Settings
from schemas.vocabulary import AttemptOutcome, AttemptStatus
from streams.bill import costs
from streams.bill.months import over_time
from streams.bill.savings import saved_by_batches
from streams.store.clickhouse import ClickHouse
from tests.builders import NOW, a_result, a_task
from tests.integration.databases import address_of, migrated
from tests.integration.servers import clickhouse_engine
from tests.integration.test_commands import hybrid
from tests.integration.test_rows import an_attempt

pytestmark = pytest.mark.integration

BY = ("provider", "model")


@pytest.fixture
def url(database: Settings) -> str:
    return address_of(database)


def record(store: ClickHouse, *attempts: ProviderAttempt) -> None:
    rows = [
        attempt_row(one.model_copy(update={"attempt_id": str(uuid.uuid4())}))[1] for one in attempts
    ]
    store.insert("provider_attempts", rows, token=uuid.uuid4().hex)


def a_call(*, used: bool = False, **changes: Any) -> ProviderAttempt:
    return an_attempt(used=used).model_copy(update=changes)


def as_dicts(table: costs.Table) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_every_unused_call_has_the_cause_that_made_it_necessary(store: ClickHouse) -> None:
    failed = {"outcome": AttemptOutcome.TIMEOUT, "cost_usd": Decimal(0)}
    by_cause = {
        "retry": a_call(outcome=AttemptOutcome.BAD_OUTPUT, cost_usd=Decimal("0.01")),
        "fallback": a_call(provider_sequence=1, cost_upper_usd=Decimal("0.02"), **failed),
        "hedge": a_call(hedge=True, provider_sequence=1, outcome=AttemptOutcome.CANCELLED),
        "cancelled": a_call(outcome=AttemptOutcome.CANCELLED),
        "redelivery": a_call(outcome=AttemptOutcome.SUCCESS),
        "replay": a_call(replay_count=1, **failed),
        "orphan": a_call(status=AttemptStatus.STARTED, deadline_at=NOW, cost_usd=None,
                         outcome=AttemptOutcome.UNKNOWN, cost_upper_usd=Decimal("0.5")),
    }  # fmt: skip
    record(store, *by_cause.values(), a_call(used=True))
    record(
        store, a_call(error_code="hedge_lost", outcome=AttemptOutcome.CANCELLED)
    )  # the first lost
    found = {row["cause"]: row for row in as_dicts(costs.wasted(store, since=None))}
    assert set(found) == set(by_cause)
    assert found["hedge"]["calls"] == 2
    assert {row["calls"] for cause, row in found.items() if cause != "hedge"} == {1}
    assert found["retry"]["cost_usd"] == "0.01"
    assert (found["fallback"]["cost_usd"], found["fallback"]["upper_usd"]) == ("0", "0.02")
    assert (found["orphan"]["cost_usd"], found["orphan"]["upper_usd"]) == (None, "0.5")


def test_a_record_that_comes_again_counts_once_in_whichever_month_it_is(store: ClickHouse) -> None:
    months = [datetime(2026, number, 15, tzinfo=UTC) for number in (1, 2, 3)]
    rows = [
        attempt_row(a_call(used=True, started_at=at, attempt_id=str(uuid.uuid4())))[1]
        for at in months
    ]
    for _ in range(2):
        store.insert("provider_attempts", rows, token=uuid.uuid4().hex)
    first = [{**rows[0], "record_version": 1, "cost_usd": "9"}]
    store.insert("provider_attempts", first, token=uuid.uuid4().hex)  # older than what is there
    (row,) = as_dicts(costs.report(store, by=("provider",), since=None))
    assert (row["calls"], row["cost_usd"]) == (3, "0.3")


def test_a_call_without_an_answer_is_uncertain_once_it_is_over(store: ClickHouse) -> None:
    future = datetime.now(UTC) + timedelta(minutes=1)
    started = {"status": AttemptStatus.STARTED, "outcome": AttemptOutcome.UNKNOWN, "cost_usd": None}
    record(
        store,
        a_call(used=True, cost_upper_usd=Decimal("0.1")),
        a_call(outcome=AttemptOutcome.TIMEOUT, cost_usd=Decimal(0), cost_upper_usd=Decimal("0.3")),
        a_call(deadline_at=NOW, cost_upper_usd=Decimal("0.5"), **started),
        a_call(deadline_at=future, cost_upper_usd=Decimal("0.7"), **started),  # is running
    )
    (row,) = as_dicts(costs.report(store, by=("provider",), since=None))
    (whole,) = as_dicts(costs.total(store, since=None))
    assert (row["cost_usd"], row["uncertain_usd"]) == ("0.1", "0.8")
    assert (whole["cost_usd"], whole["uncertain_usd"], whole["orphaned"]) == ("0.1", "0.8", 1)
    for by in (("provider",), ("outcome", "day")):
        table, summed = costs.spent(store, by=by, since=None)
        assert table == costs.report(store, by=by, since=None)
        assert summed == costs.total(store, since=None)
    for step in ("hour", "day"):
        (drawn,) = over_time(store, step=step, since=None).named()
        (reported,) = costs.report(store, by=(step,), since=None).named()
        assert drawn == {name: reported[name] for name in drawn}
    assert costs.spent(store, by=BY, since=future)[1] == costs.total(store, since=future)


def test_a_cost_that_nobody_knows_is_never_0(store: ClickHouse, url: str) -> None:
    """Neither in a report, nor in a view; and the report names the model."""
    unknown = {"cost_usd": None, "served_model": "new-1"}
    record(store, a_call(used=True), a_call(used=True, **unknown), a_call(used=True, **unknown))
    found = {row["model"]: row for row in as_dicts(costs.report(store, by=BY, since=None))}
    assert (found["new-1"]["cost_usd"], found["new-1"]["unpriced"]) == (None, 2)
    assert found["gpt-3.5-turbo"]["cost_usd"] == "0.1"
    (mixed,) = as_dicts(costs.report(store, by=("provider",), since=None))
    assert (mixed["cost_usd"], mixed["unpriced"]) == ("0.1", 2)
    for view in ("costs_hourly", "costs_daily"):
        _, rows = store.rows(f"SELECT model, cost_usd, unpriced FROM {view} ORDER BY model")
        assert rows == [("gpt-3.5-turbo", Decimal("0.1"), 0), ("new-1", None, 2)]
    done = hybrid("costs", "report", environment={"CLICKHOUSE_URL": url})
    assert "2 without a known price" in done.stdout
    assert "for want of a price: new-1 at openai" in done.stdout
    assert hybrid("costs", "forecast", environment={"CLICKHOUSE_URL": url}).returncode == 0


def test_what_batches_saved_is_the_standard_price_less_what_was_charged(store: ClickHouse) -> None:
    """gpt-4o-mini: $0.15 for a million tokens of prompts."""
    a_million: dict[str, Any] = {
        "requested_model": "gpt-4o-mini", "served_model": "gpt-4o-mini", "used": True,
        "uncached_input_tokens": 1_000_000, "cached_input_tokens": 0, "reasoning_tokens": 0,
        "visible_output_tokens": 0,
    }  # fmt: skip
    charged = {
        "genai-prices@0.2.3:openai:gpt-4o-mini#batch": "0.075",
        "genai-prices@0.2.3:openai:gpt-4o-mini*0.4:batch": "0.06",
        "own:*:gpt-4o-mini:batch:2026-01-01": "0.05",
        "genai-prices@0.2.3:openai:gpt-4o-mini": "0.15",
    }
    lines = [
        a_call(**a_million, price_id=name, cost_usd=Decimal(usd)) for name, usd in charged.items()
    ]
    unknown = {**a_million, "requested_model": "new-1", "served_model": "new-1"}
    priced = {"price_id": "own:*:new-1:batch:2026-01-01", "cost_usd": Decimal(1)}
    record(store, *lines, a_call(**unknown, **priced))
    saved = saved_by_batches(store, PriceBook, {"openai": "openai"}, by=BY, since=None)
    assert saved == {("openai", "gpt-4o-mini"): Decimal("0.265")}
    assert saved_by_batches(store, PriceBook, {}, by=BY, since=None, until=NOW) == {}


def test_latency_has_a_row_for_each_phase_and_the_whole(store: ClickHouse) -> None:
    record(
        store,
        *[a_call(used=True, queue_ms=n, limiter_ms=2 * n, call_ms=100 * n) for n in range(1, 101)],
        a_call(attempt=2, queue_ms=0, limiter_ms=0, backoff_ms=5_000, call_ms=10_100),
    )
    result = result_row(a_result(a_task()))[1]
    store.insert(
        "workflow_outcomes",
        [
            {**result, "outcome_id": str(n), "model": "gpt-3.5-turbo", "total_ms": 1000 * n}
            for n in range(1, 101)
        ],
        token="o",
    )
    found = {row["phase"]: row for row in as_dicts(costs.latency(store, by=BY, since=None))}
    assert list(found) == ["queue", "limiter", "backoff", "provider", "total"]
    # The second try has not waited in the queue: its 0 would be one of 101.
    assert [found["queue"][name] for name in ("count", "p50_ms", "p95_ms", "p99_ms")] == [
        100, 51, 96, 100,
    ]  # fmt: skip
    assert found["limiter"]["p99_ms"] == 198
    assert (found["backoff"]["p95_ms"], found["provider"]["count"]) == (0, 101)
    assert found["provider"]["p50_ms"] == 5_100
    assert found["total"]["p95_ms"] == 96_000
    whole = costs.latency(store, by=(), since=None)
    assert whole.columns == ["phase", "count", "p50_ms", "p95_ms", "p99_ms"]
    assert as_dicts(whole) == [
        {name: one for name, one in row.items() if name not in BY} for row in found.values()
    ]
    (only,) = costs.latency(store, by=(), phases=("limiter",), since=None).rows
    assert only == tuple(found["limiter"].values())[2:]
    (total,) = costs.latency(store, by=BY, phases=("total",), since=None).rows
    assert total == tuple(found["total"].values())
    later = datetime.now(UTC) + timedelta(days=365)
    assert costs.latency(store, by=(), since=later).rows == []


def test_the_whole_is_left_out_where_an_intent_does_not_know_the_dimension(
    store: ClickHouse,
) -> None:
    record(store, a_call(used=True))
    store.insert("workflow_outcomes", [result_row(a_result(a_task()))[1]], token="o")
    phases = [row["phase"] for row in as_dicts(costs.latency(store, by=("priority",), since=None))]
    assert phases == ["queue", "limiter", "backoff", "provider"]


def test_how_calls_end_in_shares(store: ClickHouse) -> None:
    outcomes = AttemptOutcome
    record(
        store,
        *[a_call(used=True) for _ in range(5)],
        *[a_call(used=True, attempt=2) for _ in range(2)],
        a_call(used=True, provider_sequence=1),
        a_call(outcome=outcomes.RATE_LIMIT, http_status=429),
        a_call(outcome=outcomes.SERVER_ERROR, http_status=500),
        a_call(status=AttemptStatus.STARTED, outcome=outcomes.UNKNOWN),  # is running
    )
    (row,) = as_dicts(costs.reliability(store, by=("provider",), since=None))
    assert (row["calls"], row["results"]) == (10, 8)
    assert (row["success_share"], row["share_429"], row["error_share"]) == (0.8, 0.1, 0.1)
    assert (row["after_retry_share"], row["fallback_share"]) == (0.25, 0.125)


PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("question", "drawn"),
    [
        (["report"], "openai gpt-3.5-turbo █"),
        (["report", "--by", "provider,day"], "•• openai"),
        (["top"], "i-1 █"),
        (["latency"], "openai gpt-3.5-turbo provider"),
        (["latency", "--by", "hour"], "provider ms by hour, p95"),
        (["reliability"], "after_retry_share"),
        (["wasted"], "retry openai"),
        (["forecast"], "USD a day"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_a_report_is_drawn_in_the_terminal_and_as_a_picture(
    question: list[str], drawn: str, store: ClickHouse, url: str, tmp_path: Path
) -> None:
    moment = datetime.now(UTC) - timedelta(hours=1)
    for hours in range(3):
        at = moment - timedelta(hours=24 * hours)
        record(
            store,
            a_call(used=True, call_ms=200, started_at=at),
            a_call(outcome=AttemptOutcome.BAD_OUTPUT, started_at=at, call_ms=100),
        )
    picture = tmp_path / "report.png"
    environment = {"CLICKHOUSE_URL": url}
    done = hybrid("costs", *question, "--plot", "--png", str(picture), environment=environment)
    assert done.returncode == 0, done.stderr
    assert drawn in " ".join(done.stdout.split())
    assert picture.read_bytes().startswith(PNG)
    assert f"wrote {picture}" in done.stderr
    plain = hybrid("costs", *question, "--format", "json", environment=environment)
    assert json.loads(plain.stdout), "there is a table too"


@pytest.mark.parametrize(
    ("options", "said", "status"),
    [
        (["--plot", "--format", "json"], "leave out --format json", 2),
        (["--png", "/nowhere/at/all.png"], "it cannot be written", 1),
    ],
)
def test_a_chart_that_cannot_be_made_is_one_sentence(
    options: list[str], said: str, status: int, store: ClickHouse, url: str
) -> None:
    record(store, a_call(used=True))
    done = hybrid("costs", "report", *options, environment={"CLICKHOUSE_URL": url})
    assert done.returncode == status
    assert said in done.stderr


@pytest.mark.usefixtures("store")
def test_a_report_of_nothing_draws_nothing(url: str) -> None:
    environment = {"CLICKHOUSE_URL": url}
    for question in ("report", "forecast", "latency"):
        done = hybrid("costs", question, "--plot", environment=environment)
        assert done.returncode == 0, done.stderr
        assert "nothing to draw" in done.stdout


def test_without_the_drawing_libraries_a_report_says_what_to_install(
    store: ClickHouse, url: str, tmp_path: Path
) -> None:
    record(store, a_call(used=True, started_at=datetime.now(UTC)))
    for name in ("plotext", "matplotlib"):
        (tmp_path / f"{name}.py").write_text("raise ImportError")
    environment = {"CLICKHOUSE_URL": url, "PYTHONPATH": str(tmp_path)}
    for option in (["--plot"], ["--png", str(tmp_path / "x.png")]):
        done = hybrid("costs", "report", "--by", "day", *option, environment=environment)
        assert done.returncode == 2
        assert "hybrid-orchestrator[plot]" in done.stderr


@pytest.mark.embedded("it starts an engine of its own, in another time zone")
def test_a_server_and_a_shell_of_another_zone_shift_nothing(tmp_path: Path) -> None:
    zone = {"TZ": "Asia/Kolkata"}
    with clickhouse_engine(tmp_path, environment=zone) as port:
        url = f"http://127.0.0.1:{port}/hybrid"
        store = migrated(Settings.model_validate({"clickhouse_url": url}))
        assert store.rows("SELECT timezone()")[1] == [("Asia/Kolkata",)]
        now = datetime.now(UTC)
        record(store, a_call(started_at=now))
        stored = "SELECT toUnixTimestamp64Milli(started_at) FROM provider_attempts"
        assert store.rows(stored)[1] == [(int(now.timestamp() * 1000),)]
        assert len(costs.report(store, by=BY, since=now - timedelta(seconds=2)).rows) == 1
        assert not costs.report(store, by=BY, since=now + timedelta(seconds=2)).rows
        store.close()
        arguments = ("costs", "report", "--by", "day,hour", "--since", "2m", "--format", "json")
        done = hybrid(*arguments, environment={"CLICKHOUSE_URL": url, **zone})
        (row,) = json.loads(done.stdout)
        assert (row["day"], row["hour"][:13]) == (f"{now:%Y-%m-%d}", f"{now:%Y-%m-%d %H}")
