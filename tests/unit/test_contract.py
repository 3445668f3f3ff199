"""The contract against the last release's: planted changes, each compatible or refused."""

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from contract import AGREED, RELEASED, contract, verdicts  # noqa: E402 - beside the script

Document = dict[str, Any]
NOW = contract()


def judged(change: Callable[[Document], object], agreed: dict[str, str] | None = None) -> list[str]:
    """Take the contract as it is for the last release's, change it, and give what is said."""
    changed = copy.deepcopy(NOW)
    change(changed)
    return [str(one) for one in verdicts(NOW, changed, agreed or {})]


def fields(document: Document, message: str) -> Document:
    found: Document = document["messages"][message]["properties"]
    return found


def test_nothing_has_changed_without_a_change() -> None:
    assert judged(lambda _: None) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda now: fields(now, "WorkflowIntent").pop("tenant"),
         "WorkflowIntent.tenant: the field is gone"),
        (lambda now: now["messages"]["WorkflowIntent"]["required"].append("tenant"),
         "WorkflowIntent.tenant: the field must be there now"),
        (lambda now: (fields(now, "WorkflowIntent").update(team={"type": "string"}),
                      now["messages"]["WorkflowIntent"]["required"].append("team")),
         "WorkflowIntent.team: the field is new, and must be there"),
        (lambda now: fields(now, "WorkflowIntent")["user_id"].update(maxLength=64),
         "WorkflowIntent.user_id: its maxLength is 64, no longer 512"),
        (lambda now: fields(now, "WorkflowIntent")["user_id"].update(type="integer"),
         "WorkflowIntent.user_id: it may no longer be string"),
        (lambda now: now["messages"]["WorkflowIntent"]["$defs"]["Priority"]["enum"].remove("low"),
         "WorkflowIntent.priority: the word `low` is gone"),
        (lambda now: fields(now, "WorkflowIntent")["tenant"].update(default="nobody"),
         'WorkflowIntent.tenant: without it, it is "nobody", no longer "default"'),
        (lambda now: fields(now, "WorkflowIntent")["data"].update(additionalProperties=False),
         "WorkflowIntent.data: its additionalProperties are bound now"),
        (lambda now: fields(now, "WorkflowIntent")["type"].update(pattern="^[a-z]+$"),
         'WorkflowIntent.type: its pattern is "^[a-z]+$", no longer '),
        (lambda now: fields(now, "WorkflowResult").pop("content"),
         "WorkflowResult.content: the field is gone"),
        (lambda now: now["messages"]["WorkflowResult"]["$defs"]["CostInfo"]["properties"].pop(
            "cost_usd"), "WorkflowResult.cost_info.cost_usd: the field is gone"),
        (lambda now: now["messages"]["WorkflowResult"]["required"].remove("content"),
         "WorkflowResult.content: the field may be absent now"),
        (lambda now: fields(now, "WorkflowResult").update(content={"anyOf": [
            fields(NOW, "WorkflowResult")["content"], {"type": "null"}]}),
         "WorkflowResult.content: it may be null now"),
        (lambda now: now["messages"]["LedgerRecord"]["$defs"]["WorkflowStatus"]["enum"].append("x"),
         "LedgerRecord.status: the word `x` is new"),
        (lambda now: now["messages"]["DeferralState"]["required"].remove("hop"),
         "DeferralState.hop: the field may be absent now"),
        (lambda now: now["messages"].pop("Alert"), "Alert: the message is gone"),
        (lambda now: now["topics"].pop("workflow.results"),
         "workflow.results: the topic is gone"),
        (lambda now: now["topics"].update({"workflow.results": "Alert"}),
         "workflow.results: the topic holds Alert, no longer WorkflowResult"),
    ],
)  # fmt: skip
def test_what_breaks_publishers_or_readers_is_refused(
    change: Callable[[Document], object], said: str
) -> None:
    found = judged(change)
    assert [line for line in found if line.startswith(f"refused: {said}")], found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda now: fields(now, "WorkflowIntent").update(team={"type": "string", "default": ""}),
         "WorkflowIntent.team: the field is new, and may be absent"),
        (lambda now: fields(now, "WorkflowIntent")["user_id"].update(maxLength=1024),
         "WorkflowIntent.user_id: its maxLength is 1024, no longer 512"),
        (lambda now: now["messages"]["WorkflowIntent"]["required"].remove("user_id"),
         "WorkflowIntent.user_id: the field may be absent now"),
        (lambda now: now["messages"]["WorkflowIntent"]["$defs"]["Priority"]["enum"].append("idle"),
         "WorkflowIntent.priority: the word `idle` is new"),
        (lambda now: fields(now, "WorkflowResult").update(note={"type": "string", "default": ""}),
         "WorkflowResult.note: the field is new, and may be absent"),
        (lambda now: now["messages"].update(Note={"type": "object"}), "Note: the message is new"),
        (lambda now: now["topics"].update({"workflow.notes": "Note"}),
         "workflow.notes: the topic is new; `hybrid topics ensure` makes it"),
    ],
)  # fmt: skip
def test_what_only_adds_is_compatible(change: Callable[[Document], object], said: str) -> None:
    assert judged(change) == [f"compatible: {said}"]


def test_words_about_a_field_are_no_change() -> None:
    assert judged(lambda now: fields(now, "WorkflowResult")["content"].update(title="x")) == []


def test_a_refused_change_that_was_agreed_to_passes_with_its_reason() -> None:
    text = "WorkflowEvent.name: the word `noted` is new"
    reason = "recorders are rolled first"

    def change(now: Document) -> None:
        now["messages"]["WorkflowEvent"]["$defs"]["EventName"]["enum"].append("noted")

    assert judged(change) == [f"refused: {text}"]
    assert judged(change, {text: reason}) == [f"compatible: {text} (agreed: {reason})"]


def test_the_last_releases_contract_is_kept() -> None:
    """And what of it was agreed to be broken is no word that nothing stands for."""
    last, agreed = json.loads(RELEASED.read_text()), json.loads(AGREED.read_text())
    found = {str(one.change) for one in verdicts(last, NOW, {}) if one.is_refused}
    assert found == set(agreed)
    assert {"WorkflowIntent", "WorkflowResult", "LedgerRecord"} <= set(last["messages"])
