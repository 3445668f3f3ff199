"""The table of rights in docs/security.md, read as a machine reads it."""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Right", "rows", "table"]

PAGE = (Path(__file__).resolve().parents[1] / "docs/security.md").read_text()


@dataclass(frozen=True)
class Right:
    kind: str
    name: str
    operation: str

    def __str__(self) -> str:
        return f"{self.operation} on {self.kind} {self.name}"

    def named_in(self, text: str) -> bool:
        """Whether a sentence names it; of a pattern, one of what it stands for."""
        name = re.escape(self.name).replace(r"\*", r"[\w.-]+")
        return bool(re.search(rf"{self.operation} on {self.kind} ([^;]*, )?{name}(?![\w.-])", text))


def rows(prefix: str = "workflow") -> dict[str, list[list[Right]]]:
    """Process or command → its rights; rows of one kind and operation are taken together."""
    found: dict[str, dict[tuple[str, str], list[Right]]] = {}
    lines = re.findall(r"(?m)^\| (`[Hh]ybrid[^|]+) \| ([^|]+) \| ([^|]+) \| ([A-Z_, ]+) \|$", PAGE)
    for who, kind, names, operations in lines:
        row = [
            Right(kind, name.replace("workflow", prefix, 1), operation)
            for name in re.findall(r"`(workflow[^`]*)`", names)
            for operation in operations.split(", ")
        ]
        for command in re.findall(r"`(?:hybrid )?([^`]+)`", who):
            found.setdefault(command, {}).setdefault((kind, operations), []).extend(row)
    return {command: list(groups.values()) for command, groups in found.items()}


def table(prefix: str = "workflow") -> dict[str, list[Right]]:
    """Process or command → all that it needs."""
    return {
        command: [right for row in found for right in row]
        for command, found in rows(prefix).items()
    }
