"""Tables on a terminal: columns that have room, whole, in one order."""

import json
from io import StringIO

import pytest
from rich.console import Console

from hybrid import printing
from hybrid.errors import UsageError
from hybrid.printing import Format, View, fitting, print_table

ID = "01a21fe6-6cd6-7dac-ae03-ab736dbdc78a"
COLUMNS = ("failed_at", "dead_letter_id", "intent_id", "tenant", "type", "reason", "spent_usd")
ROW = ("2026-01-31T09:30:00.000Z", ID, ID, "acme", "message_generation", "rejected", "0.001")
RANK = ("dead_letter_id", "reason", "tenant", "type")


def drawn(monkeypatch: pytest.MonkeyPatch, width: int, view: View) -> str:
    console = Console(width=width, file=StringIO(), color_system=None)
    monkeypatch.setattr(printing, "console", console)
    print_table(COLUMNS, [ROW], Format.TABLE, view=view)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_an_id_is_never_cut_and_no_line_is_too_long(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    text = drawn(monkeypatch, width, View(rank=RANK))
    assert ID in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_at_80_columns_whose_and_why_are_shown_and_the_rest_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = drawn(monkeypatch, 80, View(rank=RANK))
    assert all(word in text for word in ("acme", "rejected"))
    left_out = " ".join(text.split())
    assert "without failed_at, intent_id, " in left_out
    assert "for want of room: --wide, or --columns" in left_out


def test_wide_shows_all_however_narrow_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(monkeypatch, 80, View(wide=True, rank=RANK))
    line = next(one for one in text.splitlines() if ID in one)
    assert line.count(ID) == 2
    assert "message_generation" in line
    assert "for want of room" not in text


def test_chosen_columns_come_in_the_order_of_the_choice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(COLUMNS, [ROW], Format.JSON, view=View(columns="tenant, failed_at"))
    assert list(json.loads(capsys.readouterr().out)[0]) == ["tenant", "failed_at"]
    with pytest.raises(UsageError, match="--columns nope: choose any of failed_at, dead_letter_id"):
        print_table(COLUMNS, [ROW], Format.JSON, view=View(columns="nope"))


def test_a_wide_column_does_not_keep_a_narrow_one_out() -> None:
    assert fitting(["a", "b", "c"], [10, 50, 5], width=30) == [0, 2]
    assert fitting(["a", "b"], [100, 5], width=30) == [0], "the first is shown whatever its width"
