"""Every SQL question of the documentation is one that ClickHouse answers."""

import json
import re
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from schemas.events import WorkflowEvent
from schemas.rows import attempt_row, event_row, result_row
from schemas.vocabulary import AttemptOutcome, EventName, UsageSource
from streams.store.clickhouse import ClickHouse
from tests.builders import a_result, a_task
from tests.chaos.running import RunningStack
from tests.integration.databases import migrated, with_database
from tests.integration.test_rows import an_attempt

pytestmark = pytest.mark.integration
DOCS = Path(__file__).resolve().parents[2] / "docs"
QUESTIONS = re.findall(
    r"\n([^\n]+\?)\n\n```sql\n(.*?)```", (DOCS / "costs.md").read_text(), re.DOTALL
)


@pytest.fixture(scope="module")
def store(stack: RunningStack) -> ClickHouse:
    """Calls, outcomes and events of today, one at least for each question."""
    found = migrated(with_database(stack.settings))
    now = datetime.now(UTC)
    used = an_attempt().model_copy(
        update={"intent_id": "order-4711", "usage_source": UsageSource.PROVIDER, "http_status": 200,
                "uncached_input_tokens": 90, "cached_input_tokens": 10, "served_model": "m"}
    )  # fmt: skip
    unpriced = used.model_copy(update={"cost_usd": None, "outcome": AttemptOutcome.SUCCESS})
    late = an_attempt(used=False).model_copy(
        update={"outcome": AttemptOutcome.TIMEOUT, "cost_upper_usd": Decimal("0.2"), "hedge": True}
    )
    refused = an_attempt(used=False).model_copy(
        update={"outcome": AttemptOutcome.RATE_LIMIT, "http_status": 429}
    )
    rows = [
        attempt_row(one.model_copy(update={"attempt_id": str(uuid.uuid4()), "started_at": now}))[1]
        for one in (used, unpriced, late, refused)
    ]
    found.insert("provider_attempts", rows, token="a")
    result = a_result(a_task()).model_copy(update={"completed_at": now})
    outcomes = [{**result_row(result)[1], "provider_ms": 800, "total_cost_usd": "0.01"}]
    outcomes.append({**outcomes[0], "outcome_id": "d-1", "status": "failed", "reason": "rejected"})
    # Two answers that were there already, like one that was paid for.
    outcomes += [
        {**outcomes[0], "outcome_id": f"shared-{number}", "provider_ms": 0, "total_cost_usd": "0"}
        for number in range(2)
    ]
    found.insert("workflow_outcomes", outcomes, token="b")
    event = WorkflowEvent(
        event_id="e-1",
        name=EventName.PROVIDER_HEALTH_CHANGED,
        intent_id="",
        occurred_at=now,
    )
    found.insert("workflow_events", [event_row(event)[1]], token="c")
    return found


def test_there_are_seventeen_questions() -> None:
    assert len(QUESTIONS) == 17


def test_what_shared_answers_saved_is_what_others_like_them_cost(store: ClickHouse) -> None:
    statement = next(one for question, one in QUESTIONS if "shared answers" in question)
    ((_, _, shared, saved),) = store.rows(statement)[1]
    assert (shared, saved) == (2, pytest.approx(0.02))


@pytest.mark.parametrize(("question", "statement"), QUESTIONS, ids=[one for one, _ in QUESTIONS])
def test_a_question_of_the_documentation_has_an_answer(
    store: ClickHouse, question: str, statement: str
) -> None:
    columns, rows = store.rows(statement)
    assert columns, question
    assert rows, question


# ── Grafana ─────────────────────────────────────────────────────────────────────────────────

GRAFANA = DOCS.parent / "deploy" / "grafana"
PANELS = [
    (f"{path.stem}: {panel['title']}", target["rawSql"])
    for path in sorted((GRAFANA / "dashboards").glob("*.json"))
    for panel in json.loads(path.read_text())["panels"]
    for target in panel["targets"]
]
RULES = [
    (rule["title"], rule["data"][0]["model"]["rawSql"])
    for group in json.loads((GRAFANA / "provisioning/alerting/hybrid.yaml").read_text())["groups"]
    for rule in group["rules"]
]


@pytest.mark.parametrize(
    ("title", "statement"), [*PANELS, *RULES], ids=[title for title, _ in [*PANELS, *RULES]]
)
def test_a_panel_or_alert_asks_what_clickhouse_can_answer(
    store: ClickHouse, title: str, statement: str
) -> None:
    """The plug-in's macro for the chosen time stands for a condition."""
    condition = "(started_at > now() - INTERVAL 10 YEAR)"
    filled = re.sub(
        r"\$__timeFilter\((\w+)\)",
        lambda found: condition.replace("started_at", found[1]),
        statement,
    )
    assert "$__" not in filled
    columns, rows = store.rows(filled)
    assert columns, title
    assert rows, title
    if (title, statement) in RULES:
        assert len(rows) == 1
        float(rows[0][0])
