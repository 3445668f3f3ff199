"""Applying the numbered migrations of `schemas/migrations`; idempotent.

The files are written for one server. On a replicated cluster the same statements get `ON CLUSTER`
and their engines become the Replicated ones, whose path and replica are the server's own default.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import schemas
from schemas.settings import Settings
from streams.store.clickhouse import ClickHouse

__all__ = [
    "Layout",
    "Migration",
    "MigrationError",
    "load_migrations",
    "migrate",
    "pending",
    "placed",
    "roll_back",
]

FOLDER = Path(schemas.__file__).parent / "migrations"
HEAD = re.compile(
    r"^(CREATE DATABASE IF NOT EXISTS|CREATE TABLE IF NOT EXISTS|CREATE VIEW IF NOT EXISTS"
    r"|CREATE OR REPLACE VIEW|ALTER TABLE|DROP TABLE IF EXISTS|DROP VIEW IF EXISTS)\s+(\w+)"
)
ENGINE = re.compile(r"\bENGINE = (?=ReplacingMergeTree\b)")
#: Tables, and the time from which their rows are kept.
KEPT_BY = {
    "provider_attempts": "started_at",
    "workflow_outcomes": "completed_at",
    "workflow_events": "occurred_at",
}
TTL = re.compile(r"\bTTL toDateTime\((\w+)\) \+ (?:toIntervalDay\((\d+)\)|INTERVAL (\d+) DAY)")

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
class Layout:
    """Where the tables lie, and for how long they keep their rows."""

    cluster: str | None = None
    retention_days: int = 400
    events_retention_days: int = 90

    @classmethod
    def of(cls, settings: Settings) -> "Layout":
        """Take it from the settings."""
        return cls(
            settings.hybrid_clickhouse_cluster,
            settings.hybrid_retention_days,
            settings.hybrid_events_retention_days,
        )

    def days(self, table: str) -> int:
        """Give the retention of a table."""
        return self.events_retention_days if table == "workflow_events" else self.retention_days


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


def placed(statement: str, cluster: str | None) -> str:
    """Give a statement for the cluster; raises ValueError for one that cannot be placed."""
    if cluster is None:
        return statement
    found = HEAD.match(statement)
    if not found:
        message = f"a migration begins with what is not known here: {statement[:60]}"
        raise ValueError(message)
    head = f"{found[1]} {found[2]} ON CLUSTER '{cluster}'"
    return ENGINE.sub("ENGINE = Replicated", head + statement[found.end() :])


def migrate(clickhouse: ClickHouse, layout: Layout | None = None) -> list[Migration]:
    """Apply what is missing, then the retention; gives the steps applied.

    Raises MigrationError for a step that was edited, and for a cluster that does not fit.
    """
    layout = layout or Layout()
    if layout.cluster is not None:
        _check_cluster(clickhouse, layout.cluster)
    database = f"CREATE DATABASE IF NOT EXISTS {clickhouse.database}"
    clickhouse.command_outside(placed(database, layout.cluster))
    _apply(clickhouse, TRACKING, layout.cluster)
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
            _apply(clickhouse, statement, layout.cluster)
        _note(clickhouse, step, applied=True)
        done.append(step)
    _keep(clickhouse, layout)
    return done


def pending(clickhouse: ClickHouse) -> list[Migration]:
    """Give the steps that are not applied in the form they have here; all where nothing is."""
    _, tables = clickhouse.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() "
        "AND name = 'schema_migrations'"
    )
    applied = _applied(clickhouse) if tables else {}
    return [step for step in load_migrations() if applied.get(step.version) != step.checksum]


def roll_back(clickhouse: ClickHouse, *, to: int, layout: Layout | None = None) -> list[Migration]:
    """Undo the steps above version `to`, newest first."""
    cluster = (layout or Layout()).cluster
    applied = _applied(clickhouse)
    undone = []
    for step in reversed(load_migrations()):
        if step.version > to and step.version in applied:
            for statement in step.down:
                _apply(clickhouse, statement, cluster)
            _note(clickhouse, step, applied=False)
            undone.append(step)
    return undone


def _apply(clickhouse: ClickHouse, statement: str, cluster: str | None) -> None:
    # A replica that is away must be told of before our own client gives up.
    patience = {"distributed_ddl_task_timeout": 20} if cluster else {}
    clickhouse.command(placed(statement, cluster), settings=patience)


def _check_cluster(clickhouse: ClickHouse, cluster: str) -> None:
    """Refuse a cluster that is not known, or whose rows would lie on several shards."""
    _, rows = clickhouse.rows_outside("SELECT cluster, uniqExact(shard_num) FROM system.clusters "
                                      "GROUP BY cluster ORDER BY cluster")  # fmt: skip
    shards = {str(name): int(count) for name, count in rows}
    if cluster not in shards:
        known = ", ".join(shards) or "none"
        message = f"HYBRID_CLICKHOUSE_CLUSTER = {cluster}: the server knows these clusters: {known}"
        raise MigrationError(message)
    if shards[cluster] > 1:
        message = (
            f"HYBRID_CLICKHOUSE_CLUSTER = {cluster}: it has {shards[cluster]} shards; the tables "
            "are made for one shard with replicas, since a call's rows must meet to count once"
        )
        raise MigrationError(message)


def _keep(clickhouse: ClickHouse, layout: Layout) -> None:
    """Set the retention where it is another than the configured one."""
    _, rows = clickhouse.rows(
        "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
    )
    for name, made_by in rows:
        column, days = KEPT_BY.get(str(name)), layout.days(str(name))
        found = TTL.search(str(made_by))
        if column is None or (found and int(found[2] or found[3]) == days):
            continue
        change = f"ALTER TABLE {name} MODIFY TTL toDateTime({column}) + INTERVAL {days} DAY"
        _apply(clickhouse, change, layout.cluster)


def _applied(clickhouse: ClickHouse) -> dict[int, str]:
    _, rows = clickhouse.rows("SELECT version, checksum FROM schema_migrations FINAL WHERE applied")
    return {int(version): str(checksum) for version, checksum in rows}


def _note(clickhouse: ClickHouse, step: Migration, *, applied: bool) -> None:
    clickhouse.command(
        "INSERT INTO schema_migrations (version, name, checksum, applied) VALUES "  # noqa: S608 - ours
        f"({step.version}, '{step.name}', '{step.checksum}', {str(applied).lower()})"
    )
