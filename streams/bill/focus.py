"""The record as a FOCUS dataset: the FinOps Foundation's form of a bill.

Version 1.3 of the specification, dataset Cost and Usage; keys that are drafted for 1.5 (the model,
the kind of tokens) go under `x_`, as it asks for. One row for a day, a tenant, a provider, a model,
its price and a direction: what went in and what came out. It is an estimate, and says so: the bill
itself is the provider's.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from agents.pricing.prices import PriceBook
from schemas.settings import Settings
from streams.bill.costs import DIMENSIONS, period
from streams.store.clickhouse import ClickHouse

__all__ = ["FORMS", "export", "left_out", "vendors_of"]

#: How a file is written, by the end of its name: ClickHouse's own formats.
FORMS = {"csv": "CSVWithNames", "parquet": "Parquet"}
MONTH = "toStartOfMonth(day)"
#: Name of the column → its value in a row that holds one direction of a group of calls.
COLUMNS = {
    "BilledCost": "cost",
    "BillingAccountId": "provider",
    "BillingAccountName": "provider",
    "BillingAccountType": "'Provider'",
    "BillingCurrency": "'USD'",
    "BillingPeriodEnd": f"formatDateTime(addMonths({MONTH}, 1), '%Y-%m-%dT00:00:00Z')",
    "BillingPeriodStart": f"formatDateTime({MONTH}, '%Y-%m-%dT00:00:00Z')",
    "ChargeCategory": "'Usage'",
    "ChargeClass": "CAST(NULL AS Nullable(String))",
    "ChargeDescription": "concat(model, ', ', lower(direction), ' tokens; an estimate')",
    "ChargeFrequency": "'Usage-Based'",
    "ChargePeriodEnd": "formatDateTime(addDays(day, 1), '%Y-%m-%dT00:00:00Z')",
    "ChargePeriodStart": "formatDateTime(day, '%Y-%m-%dT00:00:00Z')",
    "ConsumedQuantity": "tokens",
    "ConsumedUnit": "'Tokens'",
    "ContractedCost": "cost",
    "EffectiveCost": "cost",
    "HostProviderName": "vendor",
    "InvoiceIssuerName": "vendor",
    "ListCost": "cost",
    "PricingCategory": "'Standard'",
    "PricingCurrency": "'USD'",
    "PricingQuantity": "toDecimal128(tokens, 6) / 1000000",
    "PricingUnit": "'1000000 Tokens'",
    "ProviderName": "vendor",
    "PublisherName": "vendor",
    "ServiceCategory": "'AI and Machine Learning'",
    "ServiceName": "vendor",
    "ServiceProviderName": "vendor",
    "ServiceSubcategory": "'Generative AI'",
    "SkuId": "concat(model, '/', direction)",
    "SkuMeter": "concat(direction, ' Tokens')",
    "SkuPriceDetails": "toJSONString(map('x_ModelId', model, 'x_TokenType', direction))",
    "SkuPriceId": "concat(price_id, '/', direction)",
    "SubAccountId": "tenant",
    "SubAccountName": "tenant",
    "SubAccountType": "'Tenant'",
    "x_Calls": "calls",
    "x_Estimated": "true",
    "x_ModelId": "model",
    "x_TokenType": "direction",
}
#: Calls by what a row stands for, in both directions; the parts add up to what a call cost.
GROUPS = """
    SELECT {day} AS day, tenant, provider, {model} AS model, price_id,
        count() AS calls,
        transform(provider, {{names:Array(String)}}, {{vendors:Array(String)}}, provider) AS vendor,
        arrayJoin([
            ('Input', sum(ifNull(a.input_cost_usd, a.cost_usd)),
                sum(uncached_input_tokens + cached_input_tokens)),
            ('Output', sum(a.cost_usd - ifNull(a.input_cost_usd, a.cost_usd)),
                sum(visible_output_tokens + reasoning_tokens))]) AS part,
        part.1 AS direction, part.2 AS cost, part.3 AS tokens
    FROM provider_attempts AS a FINAL
    WHERE {when} AND a.cost_usd IS NOT NULL
    GROUP BY day, tenant, provider, model, price_id
    HAVING cost != 0 OR tokens != 0
"""


def vendors_of(settings: Settings, book: PriceBook) -> dict[str, str]:
    """Name who is behind each provider, as people know them."""
    found = {}
    for spec in settings.provider_specs:
        vendor = book.seller((spec.name, spec.kind)).vendor
        if vendor is not None:
            found[spec.name] = book.listed.vendor_name(vendor)
    return found


def export(
    store: ClickHouse,
    vendors: Mapping[str, str],
    *,
    since: datetime | None,
    until: datetime | None,
    form: str,
) -> Iterator[bytes]:
    """Give the dataset in a form of `FORMS`, piece by piece; raises ClickHouse's errors.

    `vendors` holds the names by which people know who is behind each provider.
    """
    when, parameters = period(since, until)
    groups = GROUPS.format(day=DIMENSIONS["day"], model=DIMENSIONS["model"], when=when)
    chosen = ", ".join(f"{value} AS {name}" for name, value in COLUMNS.items())
    statement = f"""
        SELECT {chosen} FROM ({groups})
        ORDER BY day, tenant, provider, model, price_id, direction
        """  # noqa: S608 - our own expressions
    named = {"names": list(vendors), "vendors": list(vendors.values())}
    pieces = store.stream(statement, {**parameters, **named}, form=FORMS[form])
    return _nulls_left_empty(pieces) if form == "csv" else pieces


def _nulls_left_empty(pieces: Iterator[bytes]) -> Iterator[bytes]:
    r"""Write NULL as readers of CSV expect it, as nothing, in place of ClickHouse's `\N`.

    Here, as a user with `readonly = 1` may set nothing. Texts are in quotes, and stay what they
    are; a quote in them is doubled, so that what stands between two quotes changes nothing.
    """
    quoted, held = False, b""
    for piece in pieces:
        parts = (held + piece).split(b'"')
        held = b""
        for number, part in enumerate(parts):
            quoted ^= number > 0
            parts[number] = part if quoted else part.replace(rb"\N", b"")
        if not quoted and parts[-1].endswith(b"\\"):  # its second half is in the next piece
            parts[-1], held = parts[-1][:-1], b"\\"
        yield b'"'.join(parts)


def left_out(store: ClickHouse, *, since: datetime | None, until: datetime | None) -> int:
    """Count the finished calls that are in no row, because nobody knows what they cost."""
    when, parameters = period(since, until)
    _, rows = store.rows(
        f"SELECT count() FROM provider_attempts AS a FINAL WHERE {when} "  # noqa: S608 - ours
        "AND status = 'finished' AND a.cost_usd IS NULL",
        parameters,
    )
    return int(rows[0][0])
