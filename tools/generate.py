"""Makes the files that come from code: schemas, AsyncAPI, tables of the docs; `--check` compares."""

import json
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from agents.deciding.failures import FACETS, Failure
from agents.deciding.policy import (
    Defer,
    Fallback,
    GiveUp,
    Go,
    Limits,
    Retry,
    RetryPolicy,
    Situation,
    Wait,
    choose,
    decide,
)
from schemas.alerting import AlertSpec
from schemas.budgets import BudgetSpec
from schemas.export import MESSAGES, asyncapi, json_schema
from schemas.pricing import PriceSpec
from schemas.providers import ProviderSpec, RouteSpec, TimeLimitSpec
from schemas.settings import Settings
from schemas.topics import DAY_MS
from schemas.vocabulary import DeadLetterReason, EventName, FailureKind, LogEvent

sys.path.insert(0, str(Path(__file__).resolve().parent))

from example import EXAMPLE
from grafana import alert_rules, dashboards

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NOTE = "<!-- made by `make generate` from the code; edit that -->\n\n"


def failures() -> str:
    """The policy as a table, asked of `decide` itself."""
    lines = [
        "# What follows a failed call",
        "",
        "Each cell is what `agents.deciding.policy.decide` answers with the default delays (retries 1, 2, 5 s;",
        "deferrals 10, 60, 600 s) and no jitter; up to 10 % jitter is added to a retry's wait.",
        "",
        "| failure | class | 1st call | 2nd | 3rd | 4th | no provider left | deferred 3 times already |",
        "|---|---|---|---|---|---|---|---|",
    ]
    cases: list[tuple[str, FailureKind, int | None]] = []
    for kind in FailureKind:
        if kind is FailureKind.RATE_LIMIT:
            cases += [
                ("rate_limit, no Retry-After", kind, None),
                ("rate_limit, Retry-After 3 s", kind, 3_000),
                ("rate_limit, Retry-After 30 s", kind, 30_000),
            ]
        else:
            cases.append((kind.value, kind, None))
    for name, kind, wait in cases:
        failure = Failure(kind, "", "", retry_after_ms=wait)
        cells = [_say(failure, calls_here=calls) for calls in (1, 2, 3, 4)]
        cells.append(_say(failure, calls_here=4, position=1, repairs_here=1, earlier=(kind,)))
        cells.append(
            _say(failure, calls_here=4, position=1, repairs_here=1, earlier=(kind,), deferrals=3)
        )
        lines.append(f"| {name} | {FACETS[kind][0].value} | {' | '.join(cells)} |")
    return "\n".join([*lines, *_around_the_table()]) + "\n"


def _around_the_table() -> list[str]:
    """What surrounds the table: limits, lines of one's own, what comes before a call, actions."""
    lines = [
        "",
        "An intent's own `deadline_ms` or `max_cost_usd` ends it before any of these (`deadline`,",
        "`budget`); a retry whose wait would pass the deadline is skipped. A provider is visited once",
        "in an execution. An intent with `force_provider` has no other provider.",
        "",
        "Lines of your own: the `[policy]` table of hybrid.toml, and `HYBRID_FALLBACK_ON`",
        "([configuration.md](configuration.md)).",
        "",
        "## Before a call",
        "",
        "A provider's breaker (half of the newest 20 calls failed, within a minute: 30 s, then one",
        "probe at a time), the rest it asked for, and its limits say how long it cannot be called.",
        "Work that no provider of its route can take stays with the dispatcher; this is what an intent does",
        "that has a slot already:",
        "",
        "| this provider | the next one | |",
        "|---|---|---|",
        *(
            f"| {'out, ' if out else ''}free in {here:g} s | free in {there:g} s | {_step(here, there, out=out)} |"
            for here, there, out in (
                (0, 0, False),
                (3, 0, False),
                (3, 0, True),
                (30, 0, False),
                (30, 3, False),
                (3, 30, False),
                (30, 30, False),
            )
        ),
        "",
        "## What an operator should do",
        "",
        "| failure | recorded as | can a replay succeed | suggested action |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {kind.value} | {facets[1].value} | {'yes' if facets[2] else 'no'} | {facets[3]} |"
        for kind, facets in FACETS.items()
    ]
    lines += ["", "## Reasons of dead letters", "", "| reason |", "|---|"]
    lines += [f"| `{reason.value}` |" for reason in DeadLetterReason]
    return lines


def _say(failure: Failure, **state: Any) -> str:  # noqa: ANN401 - fields of a Situation
    values: dict[str, Any] = {
        "providers": ("first", "second"),
        "position": 0,
        "calls_here": 1,
        "now_ms": 0,
        "limits": Limits(),
        "spent_usd": Decimal(0),
        **state,
    }
    decision = decide(RetryPolicy(), Situation(**values), failure, dice=0)
    match decision:
        case Retry(repair=True):
            return "ask to repair"
        case Retry(delay_s=delay):
            return f"retry in {delay:g} s"
        case Fallback():
            return "next provider"
        case Defer(delay_s=delay):
            return f"defer {delay:g} s"
        case GiveUp(reason=reason):
            return f"dead letter: {reason.value}"


def _step(here: float, there: float, *, out: bool) -> str:
    situation = Situation(
        providers=("first", "second"),
        position=0,
        calls_here=0,
        now_ms=0,
        limits=Limits(),
        spent_usd=Decimal(0),
        waits_s=(here, there),
        out=(out, False),
    )
    match choose(RetryPolicy(), situation):
        case Go():
            return "call"
        case Wait(delay_s=delay):
            return f"wait {delay:g} s"
        case Fallback():
            return "next provider"
        case Defer(delay_s=delay):
            return f"defer {delay:g} s, as often as it takes"
        case GiveUp(reason=reason):
            return f"dead letter: {reason.value}"


def configuration() -> str:
    """The settings as a table."""
    lines = [
        "# Configuration",
        "",
        "Environment variables, or the same names in lower case in `hybrid.toml` in the working",
        "folder, or in the file that `HYBRID_CONFIG` names (the environment wins). A wrong value is",
        "refused at start with its name.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    tables = {
        "time_limits",
        "providers",
        "routes",
        "prices",
        "budgets",
        "alerts",
        "policy",
        "tenant_weights",
    }
    for name, field in Settings.model_fields.items():
        if name in {*tables, "provider_keys"}:
            continue
        lines.append(f"| `{name.upper()}` | {_default(field.default)} | {_text(field)} |")
    lines += [
        "",
        "## Tables of `hybrid.toml`",
        "",
        "More providers, such as a second region, a local vLLM or a third vendor, are a few lines:",
        "",
        *(f"    {line}" for line in EXAMPLE.strip().splitlines()),
    ]
    for name, model in (
        ("providers", ProviderSpec),
        ("time_limits", TimeLimitSpec),
        ("routes", RouteSpec),
        ("prices", PriceSpec),
        ("budgets", BudgetSpec),
        ("alerts", AlertSpec),
    ):
        shown = f"[{name}]" if name == "alerts" else f"[[{name}]]"
        lines += ["", f"`{shown}`: {_text(Settings.model_fields[name])}", ""]
        lines += ["| field | default | meaning |", "|---|---|---|"]
        lines += [
            f"| `{field_name}` | {_default(field.default)} | {_text(field)} |"
            for field_name, field in model.model_fields.items()
        ]
    lines += ["", f"`[policy]`: {_text(Settings.model_fields['policy'])}"]
    lines += ["", f"`[tenant_weights]`: {_text(Settings.model_fields['tenant_weights'])}"]
    return "\n".join(lines) + "\n"


def _default(value: object) -> str:
    if isinstance(value, date):
        value = value.isoformat()
    if isinstance(value, tuple):
        value = ",".join(f"{part:g}" for part in value)
    return "–" if value in {None, "", PydanticUndefined} else f"`{value}`"


def _text(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def vocabulary() -> str:
    """Topics, events and log events as tables."""
    topics = Settings().topics
    lines = [
        "# Names",
        "",
        "## Topics",
        "",
        "| topic | holds | retention | compacted |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{spec.name}` | {spec.holds} | {spec.retention_ms / DAY_MS:g} d | "
        f"{'yes' if spec.compact else 'no'} |"
        for spec in topics.specs()
    ]
    lines += ["", "## Events on `workflow.events`", ""]
    lines += [f"- `{event.value}`" for event in EventName]
    lines += ["", "## Log events", "", "Every log line's `event` is one of these.", ""]
    lines += [f"- `{event.value}`" for event in LogEvent]
    return "\n".join(lines) + "\n"


def documents() -> dict[Path, str]:
    """Everything that is made, by path."""
    made = {
        DOCS / "failures.md": NOTE + failures(),
        DOCS / "configuration.md": NOTE + configuration(),
        DOCS / "names.md": NOTE + vocabulary(),
        DOCS / "schemas" / "asyncapi.json": _json(asyncapi(Settings().topics)),
    }
    grafana = ROOT / "deploy" / "grafana"
    for name, dashboard in dashboards().items():
        made[grafana / "dashboards" / f"{name}.json"] = _json(dashboard)
    # Grafana reads YAML, and JSON is YAML.
    made[grafana / "provisioning" / "alerting" / "hybrid.yaml"] = _json(alert_rules())
    for name in MESSAGES:
        made[DOCS / "schemas" / f"{name}.schema.json"] = _json(json_schema(name))
    return made


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write, or with --check compare; gives the exit status."""
    stale = []
    for path, text in documents().items():
        current = path.read_text(encoding="utf-8") if path.exists() else None
        if current == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if "--check" in sys.argv and stale:
        print("not current (run `make generate`):", *stale)
        return 1
    print(f"{len(stale)} written" if stale else "generated files are current")
    return 0


if __name__ == "__main__":
    sys.exit(main())
