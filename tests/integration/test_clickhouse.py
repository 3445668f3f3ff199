"""The local ClickHouse behaves as a server does, and the tables count nothing twice."""

from decimal import Decimal

import clickhouse_connect
import pytest

from schemas.rows import attempt_row
from schemas.vocabulary import AttemptStatus
from streams.store.clickhouse import ClickHouse, ClickHouseRefusedError
from streams.store.migrations import (
    FOLDER,
    VIEWS,
    Layout,
    MigrationError,
    load_migrations,
    migrate,
    pending,
    placed,
)
from tests.chaos.running import RunningStack
from tests.integration.databases import address_of
from tests.integration.test_rows import an_attempt

pytestmark = pytest.mark.integration


def test_what_is_applied_is_not_applied_again(store: ClickHouse) -> None:
    assert (pending(store), migrate(store)) == ([], [])
    assert {path.stem for path in (FOLDER / "views").glob("*.sql")} == set(VIEWS)
    _, rows = store.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View'"
    )
    assert {name for (name,) in rows} == set(VIEWS)


def test_views_of_another_form_are_made_anew(store: ClickHouse) -> None:
    store.command("CREATE OR REPLACE VIEW wasted_spend AS SELECT 1 AS cost_usd")
    store.command("INSERT INTO schema_migrations (version, name, checksum) VALUES (0, 'views', '')")
    assert [step.label for step in pending(store)] == ["views"]
    assert [step.label for step in migrate(store)] == ["views"]
    assert store.rows("SELECT count(cause) FROM wasted_spend")[1] == [(0,)]
    assert pending(store) == []


@pytest.mark.parametrize(
    ("note", "numbers"),
    [("(5, 'later', 'x'), (6, 'last', 'y')", "5, 6"), ("(1, 'tables', 'edited')", "1")],
)
def test_a_database_of_another_version_is_refused_untouched(
    store: ClickHouse, note: str, numbers: str
) -> None:
    store.command("DROP VIEW wasted_spend")
    store.command(f"INSERT INTO schema_migrations (version, name, checksum) VALUES {note}")
    for act in (migrate, pending):
        with pytest.raises(MigrationError) as refused:
            act(store)
        assert f"made by another version of the product (its migrations {numbers} are" in str(
            refused.value
        )
    _, rows = store.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")
    assert "wasted_spend" not in {name for (name,) in rows}


def test_retention_is_what_is_configured(store: ClickHouse) -> None:
    def kept() -> dict[str, str]:
        _, rows = store.rows(
            "SELECT name, extract(create_table_query, 'toIntervalDay\\((\\d+)\\)') "
            "FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        )
        return {name: days for name, days in rows if name != "schema_migrations"}

    tables = ("provider_attempts", "workflow_outcomes", "workflow_events")
    assert kept() == dict(zip(tables, ("400", "400", "90"), strict=True))
    assert migrate(store, Layout(retention_days=30, events_retention_days=7)) == []
    assert kept() == dict(zip(tables, ("30", "30", "7"), strict=True))
    migrate(store)
    assert kept()["workflow_events"] == "90"


def test_every_step_can_be_placed_on_a_cluster(store: ClickHouse) -> None:
    """The engine parses each; without a cluster it can run none of them."""
    steps = load_migrations()
    statements = [one for step in steps for one in step.statements]
    for statement in statements:
        whole = placed(statement, "blue")
        assert " ON CLUSTER 'blue'" in whole.splitlines()[0]
        assert store.rows(f"EXPLAIN AST {whole}")[1]
    tables = [placed(one, "blue") for one in steps[0].statements]
    assert ["ENGINE = ReplicatedReplacingMergeTree" in one for one in tables] == [True] * 3
    assert "ENGINE = ReplicatedReplacingMergeTree(record_version)" in tables[0]


def test_a_cluster_that_is_not_known_is_refused_before_anything_is_made(store: ClickHouse) -> None:
    with pytest.raises(MigrationError, match="HYBRID_CLICKHOUSE_CLUSTER = blue: the server knows"):
        migrate(store, Layout(cluster="blue"))


def test_a_record_that_comes_again_counts_once_in_every_view(store: ClickHouse) -> None:
    used = an_attempt(cost="0.25", used=True)
    wasted = an_attempt(cost="0.50", used=False)
    rows = [attempt_row(one)[1] for one in (used, wasted)]
    started = [
        attempt_row(one.model_copy(update={"status": AttemptStatus.STARTED}))[1]
        for one in (used, wasted)
    ]
    for number, batch in enumerate((started, rows, rows, started, rows[:1])):
        store.insert("provider_attempts", batch, token=f"batch-{number}")
    for view, column in (
        ("costs_hourly", "sum(cost_usd)"),
        ("costs_daily", "sum(cost_usd)"),
        ("wasted_spend", "sum(cost_usd) * 1.5"),
    ):
        _, found = store.rows(f"SELECT toFloat64({column}) FROM {view}")
        assert found[0][0] == pytest.approx(0.75), view
    _, found = store.rows("SELECT sum(attempts) FROM latency_hourly")
    assert found == [(2,)]


def test_the_same_batch_with_its_token_is_dropped_at_the_door(store: ClickHouse) -> None:
    rows = [attempt_row(an_attempt())[1]]
    for _ in range(3):
        store.insert("provider_attempts", rows, token="same")
    _, found = store.rows("SELECT count() FROM provider_attempts")
    assert found == [(1,)]


def test_a_bad_statement_is_refused_with_its_code(store: ClickHouse) -> None:
    with pytest.raises(ClickHouseRefusedError, match="code: 47"):
        store.rows("SELECT nothing_of_the_kind FROM provider_attempts")


def test_native_inserts_in_every_compression_arrive_whole(stack: RunningStack) -> None:
    for method in (False, "lz4", "zstd", "gzip"):
        client = clickhouse_connect.get_client(dsn=address_of(stack.settings), compress=method)
        client.command(
            "CREATE TABLE IF NOT EXISTS n (a UInt64, b String) ENGINE = MergeTree ORDER BY a"
        )
        client.command("TRUNCATE TABLE n")
        client.insert(
            "n", [[number, "x" * 50] for number in range(150_000)], column_names=["a", "b"]
        )
        assert client.query("SELECT count(), max(a) FROM n").result_rows == [(150_000, 149_999)]
        client.close()


def test_decimals_come_back_exactly(store: ClickHouse) -> None:
    store.insert(
        "provider_attempts", [attempt_row(an_attempt(cost="0.000000000001"))[1]], token="d"
    )
    _, rows = store.rows("SELECT cost_usd FROM provider_attempts FINAL")
    assert rows == [(Decimal("0.000000000001"),)]
