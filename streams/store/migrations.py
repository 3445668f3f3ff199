"""Applying the numbered migrations of `schemas/migrations` and the views of `schemas/views`.

Idempotent. A numbered step is applied once and never edited; a view holds no data, so it is made
again whenever its file has changed. The files are written for one server: on a replicated cluster
the same statements get `ON CLUSTER` and their engines become the Replicated ones, whose path and
replica are the server's own default.
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
]

FOLDER = Path(schemas.__file__).parent
#: In the order in which they are made: costs_daily reads costs_hourly.
VIEWS = ("costs_hourly", "costs_daily", "latency_hourly", "wasted_spend")
HEAD = re.compile(
    r"^(CREATE DATABASE IF NOT EXISTS|CREATE TABLE IF NOT EXISTS|CREATE OR REPLACE VIEW"
    r"|ALTER TABLE)\s+(\w+)"
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
    """One numbered step, or all the views: version 0, applied anew in every new form."""

    version: int
    name: str
    statements: tuple[str, ...]

    @property
    def repeatable(self) -> bool:
        """Whether another form of it may be applied over the last one."""
        return self.version == 0

    @property
    def label(self) -> str:
        """Give the name under which people know it."""
        return self.name if self.repeatable else f"{self.version:04d}_{self.name}"

    @property
    def checksum(self) -> str:
        """Tell whether an applied step was edited afterwards."""
        return hashlib.sha256("\n;\n".join(self.statements).encode()).hexdigest()


def _statements(text: str) -> tuple[str, ...]:
    """Split at semicolons that end a line; comments of whole lines go."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    parts = re.split(r";\s*(?:\n|$)", "\n".join(lines))
    return tuple(part.strip() for part in parts if part.strip())


def load_migrations() -> list[Migration]:
    """Read the steps in order, the views last."""
    found = []
    for path in sorted((FOLDER / "migrations").glob("*.sql")):
        number, _, name = path.stem.partition("_")
        found.append(Migration(int(number), name, _statements(path.read_text())))
    views = (_statements((FOLDER / "views" / f"{name}.sql").read_text()) for name in VIEWS)
    return [*found, Migration(0, "views", tuple(one for view in views for one in view))]


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

    Raises MigrationError for a database that another version of the product made, and for a cluster
    that does not fit.
    """
    layout = layout or Layout()
    if layout.cluster is not None:
        _check_cluster(clickhouse, layout.cluster)
    database = f"CREATE DATABASE IF NOT EXISTS {clickhouse.database}"
    clickhouse.command_outside(placed(database, layout.cluster))
    _apply(clickhouse, TRACKING, layout.cluster)
    done = []
    for step in _missing(clickhouse):
        for statement in step.statements:
            _apply(clickhouse, statement, layout.cluster)
        _note(clickhouse, step)
        done.append(step)
    _keep(clickhouse, layout)
    return done


def pending(clickhouse: ClickHouse) -> list[Migration]:
    """Give the steps that are not applied in the form they have here; all where nothing is.

    Raises MigrationError for a database that another version of the product made.
    """
    is_made = "schema_migrations" in _present(clickhouse)
    return _missing(clickhouse) if is_made else load_migrations()


def _missing(clickhouse: ClickHouse) -> list[Migration]:
    steps, applied = load_migrations(), _applied(clickhouse)
    strange = sorted(applied.keys() - {step.version for step in steps})
    edited = [
        step.version
        for step in steps
        if not step.repeatable and applied.get(step.version, step.checksum) != step.checksum
    ]
    if strange or edited:
        numbers = ", ".join(str(version) for version in (strange or edited))
        message = (
            f"the database {clickhouse.database} was made by another version of the product (its "
            f"migrations {numbers} are not known here): run that version, or name a new database "
            "in CLICKHOUSE_URL and fill it from Kafka by `hybrid costs rebuild`"
        )
        raise MigrationError(message)
    present = _present(clickhouse)
    gone = any(name not in present for name in VIEWS)
    return [
        step
        for step in steps
        if applied.get(step.version) != step.checksum or (step.repeatable and gone)
    ]


def _present(clickhouse: ClickHouse) -> set[str]:
    """Name the tables and views that are there: somebody may have dropped one."""
    statement = "SELECT name FROM system.tables WHERE database = currentDatabase()"
    return {str(row[0]) for row in clickhouse.rows(statement)[1]}


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
    _, rows = clickhouse.rows("SELECT version, checksum FROM schema_migrations FINAL")
    return {int(version): str(checksum) for version, checksum in rows}


def _note(clickhouse: ClickHouse, step: Migration) -> None:
    clickhouse.command(
        "INSERT INTO schema_migrations (version, name, checksum) VALUES "  # noqa: S608 - ours
        f"({step.version}, '{step.name}', '{step.checksum}')"
    )
