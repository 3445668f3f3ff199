"""A query as a person copies it: with its parameters in their places; pure."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from textwrap import dedent

__all__ = ["spelled"]

PARAMETER = re.compile(r"\{(?P<name>\w+):(?P<type>[^{}]+)\}")


def spelled(statement: str, parameters: Mapping[str, object]) -> str:
    """Write a statement with literals where ClickHouse takes parameters.

    Raises KeyError for a parameter that is not given.
    """
    text = PARAMETER.sub(lambda found: _literal(parameters[found["name"]]), statement)
    lines = [line.rstrip() for line in dedent(text).strip().splitlines()]
    return "\n".join(line for line in lines if line)


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    text = value.isoformat() if isinstance(value, date | datetime) else str(value)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
