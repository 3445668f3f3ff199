"""Answers that must follow the intent's JSON Schema; pure."""

import json
import re
from typing import Any

import jsonschema
from jsonschema.validators import validator_for

__all__ = ["AnswerError", "check_schema", "parse_answer"]

#: JSON in a Markdown fence, as many models write it although they were told not to.
FENCE = re.compile(r"\s*```\w*\s*\n(.*?)```\s*", re.DOTALL)


class AnswerError(Exception):
    """Raised when an answer is not what its schema wants; the message holds no content."""


def check_schema(schema: dict[str, Any]) -> str | None:
    """Say what is wrong with a schema, or None."""
    try:
        validator_for(schema).check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"response_schema is not a JSON Schema at {error.json_path}"
    return None


def parse_answer(content: str, schema: dict[str, Any]) -> object:
    """Read and validate an answer; raises AnswerError."""
    fenced = FENCE.fullmatch(content)
    try:
        answer = json.loads(content if fenced is None else fenced[1])
        problem = next(iter(validator_for(schema)(schema).iter_errors(answer)), None)
    except (ValueError, RecursionError) as error:
        message = "the answer is not JSON"
        raise AnswerError(message) from error
    if problem is not None:
        message = (
            f"the answer does not follow the schema at {problem.json_path} ({problem.validator})"
        )
        raise AnswerError(message)
    return answer
