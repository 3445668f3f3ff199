"""By what calls are grouped, and which are asked about."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NotRequired, TypedDict

__all__ = ["DIMENSIONS", "OF_OUTCOMES", "TIMES", "Which", "grouped", "period"]


class Which(TypedDict):
    """Which calls are asked about, as `period` has it."""

    since: datetime | None
    until: NotRequired[datetime | None]
    only: NotRequired[Mapping[str, str] | None]


#: What `--by` may name, and the expression behind it.
DIMENSIONS = {
    "provider": "provider",
    "deployment": "deployment",
    "model": "if(served_model = '', requested_model, served_model)",
    "tenant": "tenant",
    "user": "user_id",
    "type": "type",
    "priority": "priority",
    "outcome": "outcome",
    "day": "toDate(started_at)",
    "hour": "toStartOfHour(started_at)",
}

#: Those of them that are times: what is asked by them is a trend.
TIMES = ("day", "hour")
#: Those that an outcome knows too.
OF_OUTCOMES = {
    "provider": "provider",
    "model": "model",
    "tenant": "tenant",
    "user": "user_id",
    "type": "type",
    "day": "toDate(completed_at)",
    "hour": "toStartOfHour(completed_at)",
}


def period(
    since: datetime | None,
    until: datetime | None = None,
    only: Mapping[str, str] | None = None,
    *,
    known: Mapping[str, str] = DIMENSIONS,
) -> tuple[str, dict[str, Any]]:
    """Give the condition for calls that began from one moment on and before another.

    `only` names dimensions and the value that each must have.
    """
    conditions: list[str] = ["1"]
    parameters: dict[str, Any] = {}
    for name, value in (only or {}).items():
        conditions.append(f"{known[name]} = {{only_{name}:String}}")
        parameters[f"only_{name}"] = value
    for name, sign, moment in (("since", ">=", since), ("until", "<", until)):
        if moment is not None:
            conditions.append(f"started_at {sign} fromUnixTimestamp64Milli({{{name}:Int64}})")
            parameters[name] = int(moment.timestamp() * 1000)
    return " AND ".join(conditions), parameters


def grouped(by: tuple[str, ...], known: dict[str, str] = DIMENSIONS) -> tuple[str, str]:
    """Give what is selected, and what it is grouped by."""
    names = ", ".join(f"{known[name]} AS `{name}`" for name in by)
    return names, ", ".join(f"`{name}`" for name in by)
