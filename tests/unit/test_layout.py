"""The checkout itself."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from schemas.vocabulary import LogEvent

ROOT = Path(__file__).resolve().parents[2]
#: A room that is larger is two; an ADR would have to say why not.
MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 300, 60, 12


@pytest.mark.parametrize("name", ["schemas", "agents", "streams", "hybrid"])
def test_each_package_resolves_to_this_checkout(name: str) -> None:
    """A wheel beside another product's `agents` package would overwrite it."""
    found = importlib.import_module(name).__file__
    assert found is not None
    assert Path(found).parent == ROOT / name


def test_the_lock_files_name_no_host_and_pin_everything_with_hashes() -> None:
    for path in (ROOT / "requirements").glob("*.lock"):
        text = path.read_text()
        assert "://" not in text
        assert text.count("==") >= 1
        assert len(re.findall(r"(?m)^[A-Za-z0-9]", text)) <= text.count("--hash=sha256:")


def test_every_named_log_event_is_used() -> None:
    sources = "".join(
        path.read_text()
        for name in ("agents", "streams", "hybrid")
        for path in (ROOT / name).rglob("*.py")
    )
    built = {"openai_execution", "azure_execution"}  # chosen by the provider's name
    unused = [
        event.name
        for event in LogEvent
        if f"LogEvent.{event.name}" not in sources and event.value.rsplit("_", 1)[0] not in built
    ]
    assert unused == []


def _modules() -> list[Path]:
    rooms = ("schemas", "agents", "streams", "hybrid")
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def test_no_module_has_more_than_300_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in _modules()}
    assert [path for path, lines in lengths.items() if lines > MOST_LINES] == []


def test_no_function_has_more_than_60_lines() -> None:
    long = []
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                long += [(path, node.name)] if lines > MOST_FUNCTION_LINES else []
    assert long == []


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(one) for one in node.decorator_list)


def _wiring(node: ast.ClassDef) -> int:
    """Count what a class is given to be made.

    Of a dataclass, its fields; those with `init=False` are its state, and nobody wires them.
    Messages and settings (pydantic) are data with a schema, not wiring: they are not counted.
    """
    fields = [
        one
        for one in node.body
        if isinstance(one, ast.AnnAssign) and "init=False" not in ast.unparse(one)
    ]
    made = [
        len(one.args.posonlyargs) + len(one.args.args) + len(one.args.kwonlyargs) - 1
        for one in node.body
        if isinstance(one, ast.FunctionDef) and one.name == "__init__"
    ]
    return max([0, *made, len(fields) if _is_dataclass(node) else 0])


def test_no_constructor_takes_more_than_12_parameters() -> None:
    wide = [
        (path, node.name)
        for path in _modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and _wiring(node) > MOST_PARAMETERS
    ]
    assert wide == []
