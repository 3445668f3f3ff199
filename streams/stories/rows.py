"""What ClickHouse has of an intent."""

from typing import Any

from streams.store.clickhouse import ClickHouse
from streams.stories.parts import Call, Ending, Event
from streams.stories.record import Record, merged

__all__ = ["intents_named", "recorded"]

#: Where a row's fields come from that the table names otherwise.
COLUMNS = {
    "model": "if(served_model = '', requested_model, served_model)",
    "sequence": "provider_sequence",
    "finished": "status = 'finished'",
    "input_tokens": "uncached_input_tokens + cached_input_tokens",
    "output_tokens": "visible_output_tokens + reasoning_tokens",
    "used": "used_result",
    "request_id": "provider_request_id",
}
#: More rows than one intent has; what has more is shown in part.
MOST = 10_000
BY_INTENT = """
    SELECT intent_id FROM provider_attempts WHERE intent_id = {id:String} LIMIT 1
    UNION ALL SELECT intent_id FROM workflow_outcomes WHERE intent_id = {id:String} LIMIT 1
    UNION ALL SELECT intent_id FROM workflow_events WHERE intent_id = {id:String} LIMIT 1
"""
#: No index leads to these: a scan of one column each, some milliseconds a million rows.
BY_PART = """
    SELECT DISTINCT intent_id FROM provider_attempts
    WHERE provider_request_id = {id:String}
        OR attempt_id = toUUIDOrDefault({id:String}) OR execution_id = toUUIDOrDefault({id:String})
    LIMIT 10
    UNION DISTINCT SELECT DISTINCT intent_id FROM workflow_outcomes WHERE outcome_id = {id:String}
    LIMIT 10
"""


def intents_named(store: ClickHouse, identifier: str) -> list[str]:
    """Give the intents that an id names: their own, a call's, a request's, an outcome's.

    Raises ClickHouseUnavailableError, ClickHouseRefusedError.
    """
    for statement in (BY_INTENT, BY_PART):
        found = store.rows(statement, {"id": identifier})[1]
        if found:
            return sorted({str(row[0]) for row in found})
    return []


def recorded(store: ClickHouse, intent_id: str) -> Record:
    """Give what the tables have of an intent; raises as `intents_named` does.

    Rows that came twice are made one here: the tables do it in their own time.
    """
    names = ", ".join(
        f"{COLUMNS[name]} AS {name}" if name in COLUMNS else name for name in Call.model_fields
    )
    calls = _documents(
        store,
        f"SELECT {names} FROM provider_attempts AS a "  # noqa: S608 - names of ours
        f"WHERE a.intent_id = {{id:String}} LIMIT {MOST}",
        intent_id,
    )
    endings = _documents(
        store,
        f"SELECT * FROM workflow_outcomes WHERE intent_id = {{id:String}} LIMIT {MOST}",  # noqa: S608
        intent_id,
    )
    events = _documents(
        store,
        f"SELECT * FROM workflow_events WHERE intent_id = {{id:String}} LIMIT {MOST}",  # noqa: S608
        intent_id,
    )
    return merged(
        [
            Record(
                intent_id,
                tuple(map(Call.of_row, calls)),
                tuple(map(Ending.of_row, endings)),
                tuple(map(Event.of_row, events)),
                sources=(f"ClickHouse at {store.shown_url}",),
            )
        ]
    )


def _documents(store: ClickHouse, statement: str, intent_id: str) -> list[dict[str, Any]]:
    columns, rows = store.rows(statement, {"id": intent_id})
    return [dict(zip(columns, row, strict=True)) for row in rows]
