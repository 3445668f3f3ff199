"""Makes the files that come from code: schemas, AsyncAPI, docs, dashboards; `--check` compares."""

import inspect
import json
import re
import sys
from datetime import date
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from agents.deciding.failures import FACETS, Failure
from agents.deciding.policy import (
    Defer,
    Fallback,
    GiveUp,
    Go,
    Limits,
    Past,
    Retry,
    RetryPolicy,
    Situation,
    Wait,
    choose,
    decide,
)
from hybrid.config import FOUND, TABLES
from hybrid.secret_files import SECRETS
from schemas.alerting import AlertSpec
from schemas.budgets import BudgetSpec
from schemas.export import MESSAGES, asyncapi, json_schema
from schemas.models import ModelSpec, PlaceSpec
from schemas.pricing import PriceSpec
from schemas.protection import ProtectSpec
from schemas.provider_settings import DEFAULT_MODEL
from schemas.providers import ProviderSpec, RouteSpec, TimeLimitSpec
from schemas.settings import Settings
from schemas.topics import DAY_MS
from schemas.vocabulary import (
    AlertName,
    AttemptOutcome,
    DeadLetterReason,
    EventName,
    FailureKind,
    LetterState,
    LogEvent,
    RunState,
)

sys.path.insert(0, str(Path(__file__).resolve().parent))

from chart import CHART, chart_files
from commands import commands
from example import EXAMPLE
from grafana import alert_rules, dashboards
from life import life
from messages import messages
from metrics import metrics
from prometheus import rules
from prose import wrapped
from rooms import rooms
from telemetry import telemetry

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BUILT_IN_ROUTES = (
    "Without routes `azure` is asked first for `content_planning`, and for `campaign_execution` with",
    "`requires_multi_platform`. For everything else it is `openai`. The other one is the fallback.",
)
DEFAULT_MODELS = (
    "### The default model",
    "",
    *wrapped(
        f"`{DEFAULT_MODEL}` is what both providers are asked for where nobody says otherwise. It is "
        "small, OpenAI's cheapest current chat model ($0.10 and $0.50 per million tokens in and "
        "out), and what OpenAI names as the successor of gpt-4o-mini and gpt-4.1-mini; OpenAI and "
        "Azure both sell it, and genai-prices has its price. No shutdown is announced. The "
        "original's gpt-3.5-turbo and gpt-4-turbo were shut down by OpenAI in October 2026, and "
        "gpt-5-mini, gpt-5-nano, gpt-4o-mini and gpt-4.1-mini follow by January 2027; the first two "
        "remain as prices only."
    ),
    "",
    *wrapped(
        "It thinks for some seconds before it answers, unless told not to (`parameters`: "
        '`{"reasoning_effort": "none"}`). So a call to it may take 120 s, and 600 s where an intent '
        "asks for reasoning, unless `HYBRID_OPENAI_TIMEOUT` or `HYBRID_AZURE_TIMEOUT` is set, which "
        "then holds. At Azure a deployment has the name that its owner gave it: name yours, or "
        "deploy the model under its own name. `hybrid doctor` asks each provider, by a call "
        "that costs nothing, whether the model is there, and says when it ends where it is told."
    ),
)
GROUPS = (
    "An intent whose `model` is `chat` is served by each provider's own name for it, here the first",
    "name being Azure's deployment; three of four begin at `azure`, one at `openai`:",
    "",
    "    [[models]]",
    '    name = "chat"',
    '    base_model = "gpt-6-luna"',
    "",
    "    [models.at]",
    '    azure = { model = "chat-deployment", weight = 3 }',
    '    openai = { model = "gpt-6-luna", weight = 1 }',
    "",
    'Without weights the names alone do: `at = { azure = "chat-deployment", openai = "gpt-6-luna" }`.',
    "An intent's id alone decides where it begins, so that a redelivery or a replay begins there too;",
    "what fails there goes on to the others of its route, as ever. An intent for which no provider of",
    "its route has the group is refused by `hybrid publish`, and ends as a dead letter",
    "(`model_not_at_provider`) where it was published otherwise.",
    "",
    "In `at`, for each provider:",
)
NOTE = "<!-- made by `make generate` from the code; edit that -->\n\n"


def failures() -> str:
    """The policy as a table, asked of `decide` itself."""
    lines = [
        "# What follows a failed call",
        "",
        "Each cell is what `agents.deciding.policy.decide` answers with the default delays (retries",
        "after 1, 2, 5 s; deferrals of 10, 60, 600 s). Up to 10 % is added to a retry's wait, by chance.",
        "*Defer* means: put the intent off until later ([glossary](glossary.md#deferral)).",
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
            _say(failure, calls_here=4, position=1, repairs_here=1, earlier=(kind,), past=Past(3))
        )
        lines.append(f"| {name} | {FACETS[kind][0].value} | {' | '.join(cells)} |")
    return "\n".join([*lines, *_around_the_table()]) + "\n"


TIMED_OUT = Failure(FailureKind.TIMEOUT, "", "")
#: An intent that has used up its deferrals, after the last call there is; an hour into an outage.
LAST: dict[str, Any] = {"calls_here": 4, "position": 1, "past": Past(3)}
AN_HOUR: dict[str, Any] = {**LAST, "now_ms": 3_600_000, "past": Past(3, outage_ms=0)}


def _around_the_table() -> list[str]:
    """What surrounds the table: limits, lines of one's own, what comes before a call, actions."""
    lines = [
        "",
        "An intent's own `deadline_ms` or `max_cost_usd` comes before all of these: the intent then",
        "ends with the reason `deadline` or `budget`. A retry whose wait would pass the deadline is",
        "skipped. An execution goes to each provider once, and never back. An intent with",
        "`force_provider` has no other provider.",
        "",
        "An outage begins with a breaker: what fails while one of the providers that were tried is",
        f"out is put aside ({_say(TIMED_OUT, **LAST, out=(True, True))}) and uses none of its deferrals. It carries the time with",
        "it, and no later timeout, connection or server error counts, whatever worker sees it, until",
        "a provider of the route has answered anybody there since. Where the breakers are closed, as",
        f"those of a new worker, it waits as long as the outage has lasted (an hour: {_say(TIMED_OUT, **AN_HOUR)}).",
        "What fails alone, with no breaker open, counts as the intent's own failure.",
        "",
        "Lines of your own: the `[policy]` table of hybrid.toml, and `HYBRID_FALLBACK_ON`",
        "([configuration.md](configuration.md)).",
        "",
        "## Before a call",
        "",
        "Three things say how long a provider cannot be called: its breaker (when half of its newest",
        "20 calls failed, within a minute, it is out for 30 s, then one call at a time probes it), a",
        "wait that it asked for itself, and its limits. Work that no provider of its route can take",
        "stays with the dispatcher. An intent that has a slot already goes by this table:",
        "",
        "| this provider | the next one | what the intent does |",
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
    lines += ["", "## Failures", "", *_meanings(FailureKind)]
    lines += ["", "## Reasons of dead letters", "", *_meanings(DeadLetterReason)]
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
        "folder, or in the file that `HYBRID_CONFIG` names. Where both name a setting, the",
        "environment wins. A wrong value is refused at start, with its name and what is allowed.",
        "Words such as *lane* and *breaker* are in the [glossary](glossary.md).",
        "",
        "A secret may be in a file: with `_FILE` behind its name a variable (or a name in the file)",
        "names the file that holds it ([security.md](security.md#secrets-in-files)).",
        "",
        "Two are read from the environment only: `HYBRID_CONFIG`, and `HYBRID_DEBUG`; with",
        "`HYBRID_DEBUG=1` a command that ends by a defect of its own shows the place.",
        "",
        "## Settings",
        "",
        "Each is given with its default in brackets, where it has one.",
        "",
    ]
    for name, field in Settings.model_fields.items():
        if name in {*TABLES, *FOUND}:
            continue
        lines += _entry(name.upper(), field)
    lines += ["", *DEFAULT_MODELS]
    lines += [
        "",
        "## Tables of `hybrid.toml`",
        "",
        "More providers, such as a second region, a local vLLM or a third vendor, are a few lines:",
        "",
        *(f"    {line}".rstrip() for line in EXAMPLE.strip().splitlines()),
    ]
    for name, model in (
        ("providers", ProviderSpec),
        ("models", ModelSpec),
        ("time_limits", TimeLimitSpec),
        ("routes", RouteSpec),
        ("prices", PriceSpec),
        ("budgets", BudgetSpec),
        ("alerts", AlertSpec),
        ("protect", ProtectSpec),
    ):
        shown = f"[{name}]" if name == "alerts" else f"[[{name}]]"
        lines += ["", f"### `{shown}`", "", *wrapped(_text(Settings.model_fields[name])), ""]
        for field_name, field in model.model_fields.items():
            lines += _entry(field_name, field)
        if name == "routes":
            lines += ["", *BUILT_IN_ROUTES]
        if name == "models":
            lines += ["", *GROUPS, ""]
            for field_name, field in PlaceSpec.model_fields.items():
                lines += _entry(field_name, field)
    for name in ("policy", "tenant_weights"):
        lines += ["", f"### `[{name}]`", "", *wrapped(_text(Settings.model_fields[name]))]
    return "\n".join(lines) + "\n"


EXAMPLE_NOTE = """\
# More than two providers, routes, policy, prices, budgets, alerts: docs/configuration.md explains
# each line. Made by `make generate` from tools/example.py.

"""
#: What docker-compose.yml says itself, so that an entry in .env has no say.
COMPOSE_SETS = ("kafka_bootstrap_servers", "hybrid_replication_factor", "hybrid_metrics_port")


def env_example() -> str:
    """Every setting as a line of .env, for docker-compose.yml; those with a default commented."""
    lines = [
        "# Settings for docker-compose.yml: copy this to .env. Made by `make generate`.",
        "# What each means: docs/configuration.md. A line counts without its # only.",
        "",
        "# Of ClickHouse's user `hybrid`; there is no default. `up` again makes another one hold.",
        "# Letters, digits and - . _ ~ can be used; for others see CLICKHOUSE_URL.",
        "CLICKHOUSE_PASSWORD=",
        "",
        "# A key, below, or the simulator, which costs nothing, by these two lines:",
        "#COMPOSE_PROFILES=simulator",
        "#HYBRID_SIMULATOR=http://simulator:8089",
        "# The operator's pages: COMPOSE_PROFILES=console, or simulator,console, and",
        "# HYBRID_CONSOLE_TOKEN below.",
        "",
        "# A hybrid.toml in deploy/config:",
        "#HYBRID_CONFIG=/config/hybrid.toml",
        "",
    ]
    for name, field in Settings.model_fields.items():
        if name in {*TABLES, *FOUND, *COMPOSE_SETS, "hybrid_simulator"}:
            continue
        lines.append(f"#{name.upper()}={_env_value(field.default)}")
        if name in SECRETS:
            lines.append(f"#{name.upper()}_FILE=/secrets/{name}")
    return "\n".join(lines) + "\n"


def _env_value(default: object) -> str:
    if default is None or default is PydanticUndefined:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(str(one) for one in default)
    return str(default)


def _entry(name: str, field: FieldInfo) -> list[str]:
    """Give one setting as an item of a list: its name, its default, its meaning."""
    words = [f"`{word}`" for word in _allowed(field.annotation)]
    allowed = f" One of {', '.join(words)}." if words else ""
    return wrapped(
        f"`{name}`{_default(field.default)}: {_text(field)}{allowed}", first="- ", rest="  "
    )


def _allowed(annotation: object) -> list[str]:
    """Give the only words that a setting may be; empty where it is not a choice of words."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for part in get_args(annotation) for word in _allowed(part)]


def _default(value: object) -> str:
    if isinstance(value, date):
        value = value.isoformat()
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, float):
        value = f"{value:g}"
    if isinstance(value, tuple):
        value = ",".join(f"{part:g}" for part in value)
    return "" if value in {None, "", PydanticUndefined} else f" (`{value}`)"


def _text(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def vocabulary() -> str:
    """Topics, events and log events as tables."""
    topics = Settings().topics
    lines = [
        "# Names",
        "",
        "Topics with the default prefix `workflow`, and the closed vocabularies: no other word is",
        "written in their places. Words of the product itself are in the [glossary](glossary.md).",
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
    for title, words in (
        ("Events on `workflow.events`", EventName),
        ("Alerts on `workflow.alerts`", AlertName),
        ("How a call ends: `outcome` of an attempt", AttemptOutcome),
        ("Where a dead letter stands: `state` in `hybrid dlq`", LetterState),
        ("Where a run of a plan stands", RunState),
        ("Log events: `event` of a log line", LogEvent),
    ):
        lines += ["", f"## {title}", "", *_meanings(words)]
    return "\n".join(lines) + "\n"


def _meanings(words: type[StrEnum]) -> list[str]:
    """Give the words of a closed vocabulary as a list, each with its comment in the source."""
    said = dict(re.findall(r'(?m)^ +[A-Z_]+ = "(\w+)"  # (.+)$', inspect.getsource(words)))
    return [
        line
        for word in words
        for line in wrapped(f"`{word.value}`: {said[word.value]}", first="- ", rest="  ")
    ]


def documents() -> dict[Path, str]:
    """Everything that is made, by path."""
    made = {
        DOCS / "failures.md": NOTE + failures(),
        DOCS / "configuration.md": NOTE + configuration(),
        DOCS / "names.md": NOTE + vocabulary(),
        DOCS / "rooms.md": NOTE + rooms(),
        DOCS / "cli.md": NOTE + commands(),
        DOCS / "metrics.md": NOTE + metrics(),
        DOCS / "telemetry.md": NOTE + telemetry(),
        DOCS / "messages.md": NOTE + messages(),
        DOCS / "message-life.svg": life(),
        ROOT / ".env.example": env_example(),
        ROOT / "examples" / "hybrid.toml": EXAMPLE_NOTE + EXAMPLE.lstrip(),
        DOCS / "schemas" / "asyncapi.json": _json(asyncapi(Settings().topics)),
    }
    grafana = ROOT / "deploy" / "grafana"
    for name, dashboard in dashboards().items():
        made[grafana / "dashboards" / f"{name}.json"] = _json(dashboard)
    # Grafana reads YAML, and JSON is YAML.
    made[grafana / "provisioning" / "alerting" / "hybrid.yaml"] = _json(alert_rules())
    # A chart can read files of its own folder only.
    for folder in ("deploy/prometheus", f"{CHART}/files"):
        made[ROOT / folder / "rules.yaml"] = rules()
    for name, text in chart_files().items():
        made[ROOT / CHART / name] = text
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
