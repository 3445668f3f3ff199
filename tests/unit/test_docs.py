"""What the documents say about the code is true: every function and path they name is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOPS = re.findall(
    r"\[`([\w.]+)`\]\(\.\./([\w/]+\.py)\)", (ROOT / "docs/message-life.md").read_text()
)


def _defined(path: Path) -> set[str]:
    """Give the dotted names of functions, classes and their methods in a module."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            functions = ast.FunctionDef | ast.AsyncFunctionDef
            names |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, functions)}
    return names


@pytest.mark.parametrize(("name", "path"), HOPS)
def test_each_hop_of_a_messages_life_leads_to_its_function(name: str, path: str) -> None:
    assert name in _defined(ROOT / path)


def test_a_messages_life_names_its_hops() -> None:
    assert len(HOPS) >= 15


def test_the_table_of_where_to_look_leads_to_what_is_there() -> None:
    rows = re.findall(r"(?m)^\| (?!I want|-)(.+) \| (.+) \|$", (ROOT / "docs/where.md").read_text())
    assert len(rows) >= 25
    for wanted, cell in rows:
        paths = re.findall(r"\]\(\.\./([\w./-]+)\)", cell)
        assert paths, wanted
        for path in paths:
            assert (ROOT / path).exists(), f"{wanted}: {path}"
