"""The map of the code: floors, their rooms, and who imports whom, read from the code itself."""

import ast
import tomllib
from pathlib import Path
from typing import Any

import grimp
from prose import wrapped

__all__ = ["rooms"]

ROOT = Path(__file__).resolve().parent.parent
INTRODUCTION = """
The code has four floors. A floor is a top-level package; it may import from the floors below it,
never from one above. A room is a sub-package of a floor, or a module that stands on the floor
itself. An arrow means "imports". All of this is read from the code: the order of the floors, and of
the rooms on them, is the contracts in `pyproject.toml` (`tool.importlinter`), the sentences are the
docstrings, and the arrows are the imports as they are. "Pure" means: without clock, chance, network
and frameworks ([glossary](glossary.md#pure)).
"""


def rooms() -> str:
    """Give the map as Markdown."""
    floors, layers = _contracts()
    arrows = _arrows(floors)
    lines = ["# The rooms", "", *wrapped(" ".join(INTRODUCTION.split())), ""]
    lines += ["What to change where is in [where.md](where.md).", "", "## The house", ""]
    for place, floor in enumerate(floors):
        lines += _drawn(floor, layers[floor], arrows)
        if place < len(floors) - 1:
            lines += ["        │", "        ▼   may import"]
    lines += [
        "",
        *wrapped(
            "Rooms that stand between two dotted lines do not import each other; a room imports "
            "only from below its line. Arrows to other floors are below."
        ),
    ]
    for floor in floors:
        lines += _described(floor, floors, arrows)
    return "\n".join(lines) + "\n"


def _contracts() -> tuple[list[str], dict[str, list[list[str]]]]:
    """Read floors, highest first, and the layers of rooms of each floor that has a contract."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    floors: list[str] = []
    layers: dict[str, list[list[str]]] = {}
    for contract in contracts:
        if contract["type"] != "layers":
            continue
        if "containers" not in contract:
            floors = contract["layers"]
        for floor in contract.get("containers", ()):
            layers[floor] = [
                [name.strip() for name in layer.split("|")] for layer in contract["layers"]
            ]
    return floors, layers


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _arrows(floors: list[str]) -> dict[str, set[str]]:
    """Give for each room the rooms that its modules import."""
    graph = grimp.build_graph(*floors, cache_dir=None)
    found: dict[str, set[str]] = {_room(module): set() for module in graph.modules}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if _room(imported) != _room(module):
                found[_room(module)].add(_room(imported))
    return found


def _drawn(floor: str, layers: list[list[str]], arrows: dict[str, set[str]]) -> list[str]:
    """Draw one floor: each room, and the rooms of the same floor that it imports."""
    place = {name: number for number, layer in enumerate(layers) for name in layer}
    lines = [f"    {floor} ".ljust(60, "─")]
    for number, layer in enumerate(layers):
        lines += ["    " + "·" * 56] if number else []
        for name in layer:
            used = [room for room in arrows[f"{floor}.{name}"] if _floor(room) == floor]
            names = sorted(
                (room.partition(".")[2] for room in used), key=lambda one: (place[one], one)
            )
            lines += _arrow(name, names)
    return lines


def _arrow(name: str, used: list[str]) -> list[str]:
    start = f"    {name}".ljust(20)
    if not used:
        return [start.rstrip()]
    return wrapped(", ".join(used), first=f"{start}─► ", rest=" " * 23)


def _floor(room: str) -> str:
    return room.partition(".")[0]


def _described(floor: str, floors: list[str], arrows: dict[str, set[str]]) -> list[str]:
    """Describe a floor: its sentence, its rooms with their modules, its single modules."""
    lines = ["", f"## {floor}", "", *wrapped(_sentence(ROOT / floor / "__init__.py"))]
    packages = sorted(
        folder.name for folder in (ROOT / floor).iterdir() if (folder / "__init__.py").exists()
    )
    for name in packages:
        folder = ROOT / floor / name
        lines += ["", f"### {floor}/{name}", "", *wrapped(_sentence(folder / "__init__.py")), ""]
        lines += _imports(floors, arrows[f"{floor}.{name}"])
        lines += _modules(folder)
    if single := _modules(ROOT / floor):
        lines += ["", f"### On the floor of {floor}", "", *single] if packages else ["", *single]
    return lines


def _imports(floors: list[str], used: set[str]) -> list[str]:
    """Say what a room imports, from its own floor downwards."""
    said = []
    for floor in floors:
        names = [room.partition(".")[2] for room in sorted(used) if _floor(room) == floor]
        if names:
            said.append(f"{floor}: {', '.join(name for name in names if name)}")
    return [*wrapped(f"Imports {'; '.join(said)}.", first="→ ", rest="  "), ""] if said else []


def _modules(folder: Path) -> list[str]:
    lines: list[str] = []
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            link = f"[`{path.stem}`](../{path.relative_to(ROOT).as_posix()})"
            lines += wrapped(f"{link}: {_sentence(path)}", first="- ", rest="  ")
    return lines


def _sentence(path: Path) -> str:
    """Give the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
