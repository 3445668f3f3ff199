"""Usage exports in the forms that providers give, and what explains a gap."""

import json
from datetime import date
from decimal import Decimal

import pytest

from streams.bill.reconcile import ExportError, Line, Usage, compare, read_export

DAY = date(2026, 1, 31)
CSV = "date,model,num_model_requests,input_tokens,output_tokens,cost\n2026-01-31,m,2,10,5,$1.50\n"


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        "\ufeff" + CSV,
        '[{"day": "2026-01-31T00:00:00Z", "model": "m", "requests": 2, "total_tokens": 15, "usd": "1.5"}]',
        '{"start_time": 1769817600, "line_item": "m", "calls": 2, "tokens": 15, "amount": {"value": 1.5}}\n',
        '{"data": [{"date": "2026-01-31", "deployment": "m", "n_requests": 2, "tokens": 15, "cost": 1.5}]}',
    ],
)
def test_exports_are_read_in_the_forms_they_come_in(text: str) -> None:
    assert read_export(text) == {(DAY, "m"): Usage(Decimal("1.5"), 2, 15)}


#: The shape of GET /v1/organization/costs, grouped by line item, and of Azure's usage details.
OPENAI_COSTS = """{
  "object": "page",
  "data": [
    {"object": "bucket", "start_time": 1769817600, "end_time": 1769904000, "results": [
      {"object": "organization.costs.result", "amount": {"value": 0.5, "currency": "usd"},
       "line_item": "gpt-4o-2024-08-06, input", "project_id": null},
      {"object": "organization.costs.result", "amount": {"value": 0.25, "currency": "usd"},
       "line_item": "gpt-4o-2024-08-06, cached input", "project_id": null},
      {"object": "organization.costs.result", "amount": {"value": 0.75, "currency": "usd"},
       "line_item": "gpt-4o-2024-08-06, output", "project_id": null}]},
    {"object": "bucket", "start_time": 1769904000, "end_time": 1769990400, "results": []}
  ], "has_more": false
}"""
AZURE_DETAILS = (
    "Date,MeterName,Quantity,CostInBillingCurrency,BillingCurrency\n"
    "01/31/2026,gpt-4o-0806-Inp-glbl Tokens,200,0.50,USD\n"
    "01/31/2026,gpt-4o-0806-Outp-glbl Tokens,75,0.75,USD\n"
)


def test_the_classes_of_a_model_are_one_line_of_openais_costs() -> None:
    assert read_export(OPENAI_COSTS) == {(DAY, "gpt-4o-2024-08-06"): Usage(Decimal("1.50"))}


def test_meters_that_are_no_models_are_compared_by_day() -> None:
    theirs = read_export(AZURE_DETAILS)
    assert len(theirs) == 2
    ours = {(DAY, "gpt-4o-2024-08-06"): Usage(Decimal("1.20"), 3, 275, Decimal("0.1"))}
    (line,) = compare(theirs, ours, by="day")
    assert (line.day, line.model, line.gap_usd) == (DAY, "", Decimal("0.05"))
    assert line.explanation == "calls without an answer, up to 0.1 USD"
    assert [one.day for one in compare(theirs, ours, by="model")] == [None] * 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rows"),
        ("date,model\n2026-01-31,m\n", "row 1 of the export: none of the columns cost_usd"),
        ("date,model,cost\nyesterday,m,1\n", "row 1 of the export: a value"),
        ("date,model,cost\n2026-01-31,m,much\n", "row 1 of the export: a value"),
        ("[1]", "a list of objects"),
        ("{", "neither CSV nor JSON"),
    ],
)
def test_what_is_no_export_says_so(text: str, said: str) -> None:
    with pytest.raises(ExportError, match=said):
        read_export(text)


@pytest.mark.parametrize(
    ("theirs", "ours", "why"),
    [
        (Usage(Decimal(2), 1), Usage(Decimal(2), 1), "equal"),
        (
            Usage(Decimal(3), 1),
            Usage(Decimal(2), 1, 0, Decimal(1)),
            "calls without an answer, up to 1 USD",
        ),
        (Usage(Decimal(3), 2), Usage(Decimal(2), 1), "they count 2 calls, we 1"),
        (Usage(Decimal(3)), Usage(Decimal(2), 1, 0, Decimal(0), 4), "4 of our calls have no price"),
        (Usage(Decimal(3)), Usage(), "not ours: no answered call of it is on record"),
        (Usage(), Usage(Decimal(3), 1), "not in the export"),
        (Usage(Decimal(3)), Usage(Decimal(2), 1), "another price: compare `hybrid costs prices`"),
        (
            Usage(Decimal(9), 1),
            Usage(Decimal(2), 1, 0, Decimal(1)),
            "of it at most 1 USD for calls without an answer",
        ),
    ],
)
def test_a_gap_is_explained_by_what_is_known_not_to_be_known(
    theirs: Usage, ours: Usage, why: str
) -> None:
    (line,) = compare({(DAY, "m"): theirs}, {(DAY, "m"): ours})
    assert line == Line(DAY, "m", theirs, ours)
    assert line.explanation == why


def test_an_export_in_another_currency_is_converted_at_the_rate_that_is_said_or_refused() -> None:
    azure = "date,meterName,costInBillingCurrency,billingCurrencyCode\n01/31/2026,gpt-4o,2.5,EUR\n"
    openai = json.dumps(
        [{"date": "2026-01-31", "model": "m", "amount": {"value": 2.5, "currency": "eur"}}]
    )
    signed = "date,model,cost\n2026-01-31,m,€2.50\n"
    for text in (azure, openai, signed):
        with pytest.raises(ExportError, match=r"row 1 of the export is in EUR: .*--rate EUR=1\.08"):
            read_export(text)
        (usage,) = read_export(text, {"EUR": Decimal("1.1")}).values()
        assert usage.usd == Decimal("2.75")
    both = "date,model,cost,costInUsd,billingCurrency\n2026-01-31,m,2.5,2.8,EUR\n"
    (usage,) = read_export(both).values()
    assert usage.usd == Decimal("2.8"), "a column in dollars needs no rate"
