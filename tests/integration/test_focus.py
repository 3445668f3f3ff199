"""The FOCUS export: its sums are the report's, in both forms, and what it cannot say is counted."""

import csv
import io
import json
import random
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agents.pricing.prices import PriceBook
from agents.pricing.usage import Usage
from schemas.attempt import ProviderAttempt
from schemas.settings import Settings
from schemas.vocabulary import AttemptOutcome, UsageSource
from streams.bill import costs
from streams.bill.focus import COLUMNS, _nulls_left_empty
from streams.store.clickhouse import ClickHouse
from tests.builders import NOW
from tests.integration.databases import address_of
from tests.integration.test_commands import hybrid
from tests.integration.test_reports import a_call, as_dicts, record

pytestmark = pytest.mark.integration

#: Columns of FOCUS 1.3's dataset Cost and Usage that must be there, and those of them that have no
#: value where nothing is to be said.
MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd",
    "ChargePeriodStart", "ContractedCost", "EffectiveCost", "HostProviderName",
    "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ServiceCategory",
    "ServiceName", "ServiceProviderName",
}  # fmt: skip
NULL = {"ChargeClass"}


def priced(usage: Usage, model: str, **changes: Any) -> ProviderAttempt:
    price = PriceBook().price(("openai", "openai"), (model,), usage, at=NOW)
    return a_call(
        used=True, requested_model=model, served_model=model, deployment="",
        uncached_input_tokens=usage.uncached_input, cached_input_tokens=usage.cached_input,
        visible_output_tokens=usage.visible_output, reasoning_tokens=usage.reasoning,
        usage_source=UsageSource.PROVIDER, cost_usd=price.usd, input_cost_usd=price.input_usd,
        price_id=price.price_id, **changes,
    )  # fmt: skip


@pytest.fixture
def calls(store: ClickHouse) -> list[ProviderAttempt]:
    dice = random.Random(7)
    found = []
    for number in range(200):
        usage = Usage(*(dice.randrange(3_000) for _ in range(4)))
        found.append(
            priced(
                usage,
                dice.choice(["gpt-4o-mini", "gpt-5", "gpt-3.5-turbo"]),
                tenant=dice.choice(["acme", 'say "hi", \n ü']),
                started_at=NOW + timedelta(hours=number % 70),
            )
        )
    failed = a_call(outcome=AttemptOutcome.TIMEOUT, cost_usd=Decimal(0), cost_upper_usd=Decimal(1))
    unknown = a_call(used=True, requested_model="house-1", served_model="house-1", cost_usd=None)
    record(store, *found, failed, unknown, unknown)
    return found


def exported(database: Settings, *options: str) -> tuple[list[dict[str, str]], str]:
    done = hybrid(
        "costs", "export", "--format", "focus", *options,
        environment={"CLICKHOUSE_URL": address_of(database)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout, newline=""))), done.stderr


def by_model(rows: list[dict[str, Any]], key: str, usd: str) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for row in rows:
        found[row[key]] = found.get(row[key], Decimal(0)) + Decimal(str(row[usd] or 0))
    return {model: total for model, total in found.items() if total}


def test_the_sums_are_the_reports_to_the_last_digit(
    store: ClickHouse, database: Settings, calls: list[ProviderAttempt], tmp_path: Path
) -> None:
    from pyarrow import parquet

    rows, said = exported(database)
    report = as_dicts(costs.report(store, by=("model",), since=None))
    wanted = by_model(report, "model", "cost_usd")
    assert by_model(rows, "x_ModelId", "BilledCost") == wanted
    assert sum(wanted.values()) == sum((one.cost_usd or Decimal(0) for one in calls), Decimal(0))
    assert "an estimate" in said
    assert "2 calls without a known price are left out" in said
    file = tmp_path / "costs.parquet"
    exported(database, "--to", str(file))
    table = parquet.read_table(file).to_pylist()
    assert by_model(table, "x_ModelId", "BilledCost") == wanted
    assert len(table) == len(rows)
    assert list(table[0]) == list(rows[0]) == list(COLUMNS)


def test_a_row_is_a_day_a_tenant_a_model_and_a_direction(
    database: Settings, calls: list[ProviderAttempt]
) -> None:
    rows, _ = exported(database)
    keys = [
        (row["ChargePeriodStart"], row["SubAccountId"], row["x_ModelId"], row["x_TokenType"])
        for row in rows
    ]
    assert len(set(keys)) == len(keys) == 4 * 2 * 3 * 2
    for direction, classes in (
        ("Input", ("uncached_input_tokens", "cached_input_tokens")),
        ("Output", ("visible_output_tokens", "reasoning_tokens")),
    ):
        mine = [row for row in rows if row["x_TokenType"] == direction]
        tokens = sum(getattr(one, name) for one in calls for name in classes)
        assert sum(int(row["ConsumedQuantity"]) for row in mine) == tokens
        assert sum(Decimal(row["PricingQuantity"]) for row in mine) == Decimal(tokens) / 10**6
    mini = [
        row for row in rows if row["x_ModelId"] == "gpt-4o-mini" and row["x_TokenType"] == "Output"
    ]
    spoken = sum(int(row["ConsumedQuantity"]) for row in mini)
    assert sum(Decimal(row["BilledCost"]) for row in mini) == spoken * Decimal("0.60") / 10**6


@pytest.mark.usefixtures("calls")
def test_every_row_has_what_the_specification_asks_for(database: Settings) -> None:
    rows, _ = exported(database, "--since", "2026-01-31", "--until", "2026-02-01T00:00:00Z")
    assert rows
    for row in rows:
        assert set(row) >= MANDATORY
        assert {name for name in MANDATORY if row[name] == ""} == NULL
        assert row["BilledCost"] == row["EffectiveCost"] == row["ListCost"] == row["ContractedCost"]
        assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == (
            "2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z",
        )  # fmt: skip
        assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (
            "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z",
        )  # fmt: skip
        assert (row["ServiceProviderName"], row["BillingCurrency"]) == ("OpenAI", "USD")
        assert row["x_Estimated"] == "true"
        details = json.loads(row["SkuPriceDetails"])
        assert details == {"x_ModelId": row["x_ModelId"], "x_TokenType": row["x_TokenType"]}
        assert row["SkuPriceId"].endswith(f"/{row['x_TokenType']}")


def test_what_cannot_be_exported_is_one_sentence(database: Settings, tmp_path: Path) -> None:
    environment = {"CLICKHOUSE_URL": address_of(database)}
    for options, said, status in (
        (("--format", "cur"), "only focus is known", 2),
        (("--to", "costs.xlsx"), "ends with .csv or .parquet", 2),
        (("--to", str(tmp_path / "no" / "costs.csv")), "cannot be written", 1),
    ):
        done = hybrid("costs", "export", *options, environment=environment)
        assert (done.returncode, said in done.stderr) == (status, True), done.stderr


@pytest.mark.usefixtures("calls")
def test_nothing_stands_in_csv_where_there_is_no_value(database: Settings) -> None:
    """FOCUS wants NULL; what its own validator reads as one is an empty field, not ClickHouse's."""
    done = hybrid(
        "costs", "export", "--format", "focus", environment={"CLICKHOUSE_URL": address_of(database)}
    )
    assert done.returncode == 0, done.stderr
    assert r"\N" not in done.stdout
    assert ',"Usage",,' in done.stdout, "no quotes either: that would be an empty text"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_texts_with_the_sign_for_null_stay_what_they_are_however_they_are_cut(size: int) -> None:
    text = rb""""a \N",\N,"say ""\N"" \",1,\N
\N,"\N",""
"""
    pieces = iter([text[at : at + size] for at in range(0, len(text), size)])
    assert b"".join(_nulls_left_empty(pieces)) == (
        rb""""a \N",,"say ""\N"" \",1,
,"\N",""
"""
    )
