"""What no fast test runs still imports what is there: long runs, benchmarks, deployments."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("agents", "bench", "hybrid", "schemas", "streams", "tests")
#: Not imported, only read: some of them need what is installed for one run.
READ = sorted(
    path.relative_to(ROOT)
    for folder in ("bench", "tests", "tools", "examples")
    for path in (ROOT / folder).rglob("*.py")
    if ".venv" not in path.parts
)


@cache
def _defined(module: str) -> set[str] | None:
    """Give the names of one of our modules, and of what is in its folder; None: there is none."""
    place = ROOT.joinpath(*module.split("."))
    file = place.with_suffix(".py") if place.with_suffix(".py").exists() else place / "__init__.py"
    if not file.exists():
        return {one.stem for one in place.glob("*.py")} if place.is_dir() else None
    names = {one.stem for one in place.iterdir()} if place.is_dir() else set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Name(ctx=ast.Store()):
                names.add(node.id)
            case ast.Import() | ast.ImportFrom():
                names |= {one.asname or one.name.partition(".")[0] for one in node.names}
    return names


@pytest.mark.parametrize("path", READ, ids=str)
def test_each_name_that_is_imported_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if not isinstance(node, ast.ImportFrom) or node.level or not node.module:
            continue
        if node.module.partition(".")[0] not in OURS:
            continue
        names = _defined(node.module)
        assert names is not None, f"{path}: there is no module {node.module}"
        missing = {one.name for one in node.names} - names - {"*"}
        assert not missing, f"{path}: {node.module} has no {sorted(missing)}"
