"""A provider's own usage export beside our record, by day and model, with what explains a gap."""

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from streams.bill.costs import UNCERTAIN
from streams.store.clickhouse import ClickHouse

__all__ = ["BY", "ExportError", "Line", "Usage", "compare", "our_usage", "read_export"]

#: Names that exports have for what we need, in lower case (OpenAI's, Azure's, and plain ones).
NAMES = {
    "day": ("day", "date", "usagedate", "start_time_iso", "start_time", "timestamp"),
    "model": ("model", "snapshot_id", "deployment", "meter", "metername", "line_item"),
    "usd": (
        "cost_usd", "usd", "costusd", "costinusd", "cost", "amount", "amount_value", "pretaxcost",
        "costinbillingcurrency",
    ),
    "currency": (
        "currency", "amount_currency", "billingcurrency", "billingcurrencycode", "billing_currency",
    ),
    "calls": ("calls", "requests", "num_model_requests", "n_requests"),
    "tokens": ("tokens", "total_tokens"),
}  # fmt: skip
#: OpenAI's costs have a line for each class of tokens: `gpt-4o-2024-08-06, cached input`.
CLASS_OF_LINE = re.compile(r", (?:cached )?(?:input|output)$")
#: Columns that are in dollars whatever the currency of the bill.
IN_DOLLARS = frozenset({"cost_usd", "usd", "costusd", "costinusd"})
#: Signs that amounts may carry.
SIGNS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY"}
#: Azure's days are months first.
AMERICAN = re.compile(r"(\d\d)/(\d\d)/(\d{4})")
#: What may be compared; a vendor's names of meters are not always those of models.
BY = ("day,model", "day", "model")
INPUT = ("input_tokens", "prompt_tokens", "n_context_tokens_total")
OUTPUT = ("output_tokens", "completion_tokens", "n_generated_tokens_total")

#: Day and model; None and "" where they are not told apart.
Key = tuple[date | None, str]


class ExportError(Exception):
    """Raised when a file is no usage export; says what is missing, and where."""


@dataclass(slots=True)
class Usage:
    """What one side says of a model on a day."""

    usd: Decimal = field(default_factory=Decimal)
    calls: int = 0  # that were answered
    tokens: int = 0
    uncertain_usd: Decimal = field(default_factory=Decimal)  # ours only: calls without an answer
    unpriced: int = 0  # ours only: calls whose price nobody knows


@dataclass(frozen=True, slots=True)
class Line:
    """One day and model, both sides, and why they differ."""

    day: date | None
    model: str
    theirs: Usage
    ours: Usage

    @property
    def gap_usd(self) -> Decimal:
        """What they charge beyond our record; negative when we have more."""
        return self.theirs.usd - self.ours.usd

    @property
    def explanation(self) -> str:
        """What explains the gap: calls without an answer, without a price, or on one side only."""
        gap, ours = self.gap_usd, self.ours
        if gap == 0:
            return "equal"
        reasons = []
        if ours.unpriced:
            reasons.append(f"{ours.unpriced} of our calls have no price")
        if 0 < gap <= ours.uncertain_usd:
            reasons.append(f"calls without an answer, up to {ours.uncertain_usd} USD")
        elif ours.uncertain_usd:
            reasons.append(f"of it at most {ours.uncertain_usd} USD for calls without an answer")
        if self.theirs.calls and self.theirs.calls != ours.calls:
            reasons.append(f"they count {self.theirs.calls} calls, we {ours.calls}")
        if not ours.calls:
            reasons.append("not ours: no answered call of it is on record")
        elif not self.theirs.calls and not self.theirs.usd:
            reasons.append("not in the export")
        return "; ".join(reasons) or "another price: compare `hybrid costs prices`"


def read_export(text: str, rates: Mapping[str, Decimal] | None = None) -> dict[Key, Usage]:
    """Read CSV, a JSON array, or JSON Lines; raises ExportError.

    `rates` holds what one unit of another currency is worth in dollars, by its code; an amount in
    one that is not there is refused.
    """
    found: dict[Key, Usage] = defaultdict(Usage)
    count = 0
    for count, row in enumerate(_rows(text), 1):
        named = {str(name).strip().lower(): value for name, value in row.items() if name}
        try:
            day = _day(_pick(named, "day"))
            usage = found[day, CLASS_OF_LINE.sub("", str(_pick(named, "model")))]
            usage.usd += _dollars(named, count, {"USD": Decimal(1), **(rates or {})})
        except (KeyError, ValueError, InvalidOperation) as error:
            what = error.args[0] if isinstance(error, KeyError) else f"a value ({error})"
            message = f"row {count} of the export: {what} cannot be read"
            raise ExportError(message) from None
        usage.calls += int(_first(named, NAMES["calls"]) or 0)
        split = sum(int(_first(named, names) or 0) for names in (INPUT, OUTPUT))
        usage.tokens += int(_first(named, NAMES["tokens"]) or split)
    if not count:
        message = "the export has no rows"
        raise ExportError(message)
    return dict(found)


def _rows(text: str) -> Iterable[Mapping[str, Any]]:
    stripped = text.lstrip("\ufeff \n\r\t")
    if not stripped.startswith(("[", "{")):
        return list(csv.DictReader(io.StringIO(stripped)))
    try:
        document = _document(stripped)
    except ValueError as error:
        message = f"the export is neither CSV nor JSON: {error}"
        raise ExportError(message) from None
    if not all(isinstance(row, dict) for row in document):
        message = "the export must be a list of objects, one for a day and model"
        raise ExportError(message)
    return [row for one in document for row in _flat(one)]


def _document(text: str) -> list[Any]:
    """Read one JSON document, or JSON Lines; a page of an API holds its rows in `data`."""
    try:
        document = json.loads(text)
    except ValueError:
        document = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(document, dict):
        document = document.get("data", [document])
    return document if isinstance(document, list) else [document]


def _flat(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Give a bucket's results a row each: OpenAI's costs come so, `{start_time, results: […]}`."""
    results = row.get("results")
    if not isinstance(results, list):
        return [row]
    return [{**row, **one} for one in results if isinstance(one, dict)]


def _pick(row: Mapping[str, Any], what: str) -> Any:  # noqa: ANN401 - whatever the export has
    value = _first(row, NAMES[what])
    if value is None:
        message = f"none of the columns {', '.join(NAMES[what])}"
        raise KeyError(message)
    return value


def _dollars(row: Mapping[str, Any], count: int, rates: Mapping[str, Decimal]) -> Decimal:
    """Give a row's amount in dollars; raises ExportError for a currency whose rate is not said."""
    raw = str(_pick(row, "usd")).strip()
    name = next(one for one in NAMES["usd"] if row.get(one) not in (None, ""))
    code = next((code for sign, code in SIGNS.items() if sign in raw), "USD")
    if name not in IN_DOLLARS:
        amount = row[name]
        inner = amount.get("currency") if isinstance(amount, dict) else None
        code = str(inner or _first(row, NAMES["currency"]) or code).strip().upper()
    if code not in rates:
        message = (
            f"row {count} of the export is in {code}: say what one is worth in dollars, such as "
            f"--rate {code}=1.08"
        )
        raise ExportError(message)
    for sign in (*SIGNS, ","):
        raw = raw.replace(sign, "")
    return Decimal(raw.strip()) * rates[code]


def _first(row: Mapping[str, Any], names: Iterable[str]) -> Any:  # noqa: ANN401
    for name in names:
        value = row.get(name)
        if value is not None and value != "":
            return value["value"] if isinstance(value, dict) and "value" in value else value
    return None


def _day(value: object) -> date:
    if isinstance(value, int | float) or str(value).isdigit():
        return datetime.fromtimestamp(float(str(value)), UTC).date()
    if found := AMERICAN.match(str(value)):
        return date(int(found[3]), int(found[1]), int(found[2]))
    return date.fromisoformat(str(value)[:10])


def our_usage(
    store: ClickHouse, *, first: date, last: date, provider: str | None
) -> dict[Key, Usage]:
    """Give our record of the same days, by day and served model."""
    _, rows = store.rows(
        f"""
        SELECT toDate(started_at) AS day,
            if(served_model = '', requested_model, served_model) AS model,
            toString(sum(ifNull(a.cost_usd, 0))), countIf(usage_source != 'none'),
            sum(toUInt64(uncached_input_tokens + cached_input_tokens + visible_output_tokens
                + reasoning_tokens)),
            toString(sum({UNCERTAIN})),
            countIf(status = 'finished' AND usage_source != 'none' AND a.cost_usd IS NULL)
        FROM provider_attempts AS a FINAL
        WHERE day BETWEEN {{first:Date}} AND {{last:Date}}
            AND ({{provider:String}} IN ('', provider))
        GROUP BY day, model
        """,  # noqa: S608 - an expression of ours
        {"first": first, "last": last, "provider": provider or ""},
    )
    return {
        (day, str(model)): Usage(
            Decimal(str(usd)), int(calls), int(tokens), Decimal(str(uncertain)), int(unpriced)
        )
        for day, model, usd, calls, tokens, uncertain, unpriced in rows
    }


def compare(
    theirs: Mapping[Key, Usage], ours: Mapping[Key, Usage], *, by: str = BY[0]
) -> list[Line]:
    """Put both sides beside each other, in order of days and models."""
    their, our = _merged(theirs, by), _merged(ours, by)
    keys = sorted({*their, *our}, key=lambda key: (key[0] or date.min, key[1]))
    return [
        Line(day, model, their.get((day, model), Usage()), our.get((day, model), Usage()))
        for day, model in keys
    ]


def _merged(usages: Mapping[Key, Usage], by: str) -> dict[Key, Usage]:
    """Add up lines that differ only in what is not compared."""
    found: dict[Key, Usage] = defaultdict(Usage)
    for (day, model), usage in usages.items():
        into = found[day if "day" in by else None, model if "model" in by else ""]
        for name in Usage.__dataclass_fields__:
            setattr(into, name, getattr(into, name) + getattr(usage, name))
    return dict(found)
