"""Applying the numbered migrations of `schemas/migrations`; idempotent."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import schemas
from streams.clickhouse import ClickHouse

__all__ = ["Migration", "MigrationError", "load_migrations", "migrate", "roll_back"]

FOLDER = Path(schemas.__file__).parent / "migrations"

TRACKING = """CREATE TABLE IF NOT EXISTS schema_migrations
(
    version    UInt32,
    name       String,
    checksum   String,
    applied    Bool,
    changed_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(changed_at)
ORDER BY version"""


class MigrationError(Exception):
    """Raised when the database does not fit the migrations."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step, up and down."""

    version: int
    name: str
    up: tuple[str, ...]
    down: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """Tell whether an applied step was edited afterwards."""
        return hashlib.sha256("\n;\n".join(self.up).encode()).hexdigest()


def _statements(text: str) -> tuple[str, ...]:
    """Split at semicolons that end a line; comments of whole lines go."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    parts = re.split(r";\s*(?:\n|$)", "\n".join(lines))
    return tuple(part.strip() for part in parts if part.strip())


def load_migrations() -> list[Migration]:
    """Read the steps in order."""
    found = []
    for path in sorted(FOLDER.glob("*.up.sql")):
        number, _, name = path.name.removesuffix(".up.sql").partition("_")
        down = path.with_name(path.name.replace(".up.", ".down."))
        found.append(
            Migration(
                int(number), name, _statements(path.read_text()), _statements(down.read_text())
            )
        )
    return found


def migrate(clickhouse: ClickHouse) -> list[Migration]:
    """Apply what is missing; gives the steps applied; raises MigrationError for an edited step."""
    clickhouse.command_outside(f"CREATE DATABASE IF NOT EXISTS {clickhouse.database}")
    clickhouse.command(TRACKING)
    applied = _applied(clickhouse)
    done = []
    for step in load_migrations():
        if step.version in applied:
            if applied[step.version] != step.checksum:
                message = (
                    f"migration {step.version:04d}_{step.name} was applied in another form; "
                    "add a new migration instead of editing one"
                )
                raise MigrationError(message)
            continue
        for statement in step.up:
            clickhouse.command(statement)
        _note(clickhouse, step, applied=True)
        done.append(step)
    return done


def roll_back(clickhouse: ClickHouse, *, to: int) -> list[Migration]:
    """Undo the steps above version `to`, newest first."""
    applied = _applied(clickhouse)
    undone = []
    for step in reversed(load_migrations()):
        if step.version > to and step.version in applied:
            for statement in step.down:
                clickhouse.command(statement)
            _note(clickhouse, step, applied=False)
            undone.append(step)
    return undone


def _applied(clickhouse: ClickHouse) -> dict[int, str]:
    _, rows = clickhouse.rows("SELECT version, checksum FROM schema_migrations FINAL WHERE applied")
    return {int(version): str(checksum) for version, checksum in rows}


def _note(clickhouse: ClickHouse, step: Migration, *, applied: bool) -> None:
    clickhouse.command(
        "INSERT INTO schema_migrations (version, name, checksum, applied) VALUES "  # noqa: S608 - ours
        f"({step.version}, '{step.name}', '{step.checksum}', {str(applied).lower()})"
    )
