"""Asking a provider what it knows of a model, by calls that cost nothing; nothing here is paid.

OpenAI, and servers that speak as it does, say it at `/models/{model}`, or in the list `/models`.
Azure's list has the models that may be deployed, with their days; what is deployed it does not say.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any

import openai
from openai import AsyncOpenAI

from agents.providers.bodies import answer_of, document_of, fields_of, text

__all__ = ["Finding", "Knowledge", "inquire"]

REFUSED, NOT_FOUND, OK = frozenset({401, 403}), 404, 200
#: What servers answer that have no list of models.
LISTLESS = frozenset({404, 405, 501})
#: Later than any day of a model's end; what is beyond is no moment.
LATEST = 4_102_444_800
#: A version at the end of a model's id: `-2025-08-07`, `-0613`.
VERSION = re.compile(r"-\d[\d-]*")


class Knowledge(Enum):
    """What a provider lets us know of a model."""

    THERE = "there"
    ABSENT = "absent"  # the provider has no such model
    UNTOLD = "untold"  # the key is taken; whether the model is there nobody says
    LISTLESS = "listless"  # a server without a list of models
    KEY_REFUSED = "key_refused"
    TROUBLED = "troubled"  # it answered, with a status that says neither
    UNREACHED = "unreached"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a provider said of one model."""

    model: str
    knowledge: Knowledge
    #: The status of its answer; None without one.
    status: int | None = None
    #: The answer's date, as its header has it: the provider's clock.
    at: str | None = None
    #: What it calls the model's state where that is near its end, such as `deprecated`.
    state: str = ""
    #: The day on which it ends, as far as the provider says one.
    ends: date | None = None
    #: Why it was not reached, in a word.
    cause: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    #: None = there was no answer, for the cause.
    status: int | None = None
    at: str | None = None
    code: str = ""
    document: Mapping[str, Any] = field(default_factory=dict)
    cause: str = ""

    def finding(self, model: str, otherwise: Knowledge) -> Finding:
        """Give what it says of a model, `otherwise` where it is an answer to the question."""
        return Finding(model, self._knowledge(otherwise), self.status, self.at, cause=self.cause)

    def _knowledge(self, otherwise: Knowledge) -> Knowledge:
        if self.status is None:
            return Knowledge.UNREACHED
        if self.status in REFUSED:
            return Knowledge.KEY_REFUSED
        if self.status == NOT_FOUND:
            return Knowledge.ABSENT
        return otherwise if self.document else Knowledge.TROUBLED


async def inquire(
    client: AsyncOpenAI,
    kind: str,
    models: Mapping[str, str],
    *,
    headers: Mapping[str, str],
    within_s: float,
) -> list[Finding]:
    """Ask for models (name → what it really is, or empty), all at once; never raises for an answer.

    `headers` carry the key; `within_s` bounds all of it, in seconds.
    """
    ask = _at_azure if kind == "azure" else _elsewhere
    try:
        async with asyncio.timeout(within_s):
            return await asyncio.gather(*(ask(client, *one, headers) for one in models.items()))
    except TimeoutError:
        return [Finding(one, Knowledge.UNREACHED, cause="TimeoutError") for one in models]


async def _elsewhere(
    client: AsyncOpenAI, model: str, _base: str, headers: Mapping[str, str]
) -> Finding:
    said = await _ask(client, model, headers)
    if said.status not in LISTLESS or said.code == "model_not_found":
        return _dated(said.finding(model, Knowledge.THERE), said.document)
    listed = await _ask(client, None, headers)
    entries = _entries(listed.document)
    if listed.status in LISTLESS or (listed.status == OK and not entries):
        return Finding(model, Knowledge.LISTLESS, listed.status, listed.at)
    found = next((one for one in entries if text(one.get("id")) == model), None)
    knowledge = Knowledge.ABSENT if found is None else Knowledge.THERE
    return _dated(listed.finding(model, knowledge), found or {})


async def _at_azure(
    client: AsyncOpenAI, model: str, base: str, headers: Mapping[str, str]
) -> Finding:
    said = await _ask(client, None, headers)
    entry = _entry(_entries(said.document), base or model)
    return _dated(said.finding(model, Knowledge.UNTOLD), entry)


async def _ask(client: AsyncOpenAI, model: str | None, headers: Mapping[str, str]) -> _Said:
    """Ask for a model, or for the list."""
    raw, sent = client.models.with_raw_response, dict(headers)
    try:
        answer: Any = await (
            raw.list(extra_headers=sent)
            if model is None
            else raw.retrieve(model, extra_headers=sent)
        )
    except openai.APIStatusError as error:
        code = answer_of(error.status_code, error.response.headers, error.body).code
        return _Said(error.status_code, error.response.headers.get("date"), code)
    except Exception as error:  # noqa: BLE001 - whatever libraries raise, there is no answer
        return _Said(cause=type(error.__cause__ or error).__name__)
    return _Said(answer.status_code, answer.headers.get("date"), "", document_of(answer.content))


def _entries(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = document.get("data")
    return [fields_of(one) for one in listed] if isinstance(listed, list) else []


def _entry(entries: Sequence[Mapping[str, Any]], model: str) -> Mapping[str, Any]:
    """Find a model by its id, or by its only version; nothing where it could be several."""
    exact = [one for one in entries if one.get("id") == model]
    versions = [
        one
        for one in entries
        if (name := text(one.get("id"))).startswith(model)
        and VERSION.fullmatch(name.removeprefix(model))
    ]
    found = exact or versions
    return found[0] if len(found) == 1 else {}


def _dated(finding: Finding, entry: Mapping[str, Any]) -> Finding:
    """Add what is said of the model's end: OpenAI's `shutdown_date`, Azure's `deprecation`."""
    state = text(entry.get("lifecycle_status"))
    ends = _day(entry.get("shutdown_date")) or _day(
        fields_of(entry.get("deprecation")).get("inference")
    )
    ending = state.startswith(("deprecat", "retir"))
    return replace(finding, ends=ends, state=state if ending else "")


def _day(value: object) -> date | None:
    """Read a day, written or in seconds since 1970; None for what is none."""
    if isinstance(value, int) and 0 < value < LATEST:
        return datetime.fromtimestamp(value, UTC).date()
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
