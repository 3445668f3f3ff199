"""Dead letters into a file and out of it again, on a broker without workers."""

import asyncio
import json
import uuid
from base64 import b64decode
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas.outcome import DeadLetter
from streams.kafka.partitioning import partition_of
from streams.kafka.reading import read_topic
from tests.integration.driving import eventually
from tests.integration.test_runs import Place, letters, place

__all__ = ["place"]

pytestmark = pytest.mark.integration


def exported(place: Place, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in place.hybrid("export", *arguments).splitlines()]


def file_of(place: Place, lines: list[Any]) -> str:
    file = place.folder / f"{uuid.uuid4().hex}.jsonl"
    file.write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    return str(file)


def published(place: Place, count: int) -> list[tuple[int, dict[str, bytes], bytes | None]]:
    """Partition, headers and value of what workers would read, once the commit has come there."""

    async def read() -> list[tuple[int, dict[str, bytes], bytes | None]]:
        records = read_topic(place.settings, place.settings.topics.intents)
        return [(one.partition, dict(one.headers), one.value) async for one in records]

    return eventually(lambda: asyncio.run(read()), lambda found: len(found) == count)


def test_what_is_exported_is_as_it_stands_and_is_published_once(place: Place) -> None:
    ours = {"topic": place.settings.topics.intents}
    made = [
        one.model_copy(update={"source": one.source.model_copy(update=ours)}) for one in letters(7)
    ]
    place.write(made)
    place.write(letters(2, reason="rejected"))
    out = place.folder / "letters.jsonl"
    place.hybrid("export", "--reason", "exhausted", "--out", str(out))
    lines = [json.loads(one) for one in out.read_text().splitlines()]
    assert out.stat().st_mode & 0o077 == 0
    assert {one["dead_letter_id"] for one in lines} == {one.dead_letter_id for one in made}
    assert {one["state"] for one in lines} == {"open"}
    by_id = {one.dead_letter_id: one for one in made}
    assert all(
        DeadLetter.model_validate(one).to_json() == by_id[one["dead_letter_id"]].to_json()
        for one in lines
    )
    assert len(exported(place, "--limit", "3")) == 3

    said = place.hybrid("import", str(out), "--dry-run")
    assert said.startswith("7 of 7 lines will be published again\n")
    assert "at most" in said
    assert published(place, 0) == []
    assert "say --yes" in place.hybrid("import", str(out), status=2)
    assert "they may cost more" in place.hybrid(
        "import", str(out), "--max-usd", "0.0001", "--yes", status=2
    )
    assert place.hybrid("import", str(out), "--yes").endswith("published 7\n")
    sent = published(place, 7)
    assert place.copies() == Counter(one.dead_letter_id for one in made)
    for partition, headers, value in sent:
        letter = by_id[headers["replayed-dead-letter-id"].decode()]
        assert partition == letter.source.partition  # there is the lane that knows it
        assert value == b64decode(letter.original.value or "")
        assert headers["intent-id"] == letter.intent_id.encode()
    # It is on record, so neither the file nor a plan sends it again.
    again = place.hybrid("import", str(out), "--yes")
    assert "7 were replayed before and have no outcome yet" in again
    assert place.plan("--reason", "exhausted")["summary"]["left_out"] == {"replayed": 7}
    place.end(made[0], "completed")
    place.end(made[1], "failed")
    said = place.hybrid("import", str(out), "--dry-run", "--again")
    assert said.startswith("5 of 7 lines will be published again\n1 were replayed before and came")
    assert place.hybrid("import", str(out), "--yes", "--again").endswith("published 5\n")
    published(place, 12)


def test_an_edited_intent_is_published_and_bad_lines_stop_nothing_else(place: Place) -> None:
    place.write(letters(5))
    lines = exported(place, "--intents")
    edited, other, broken, fine, dismissed = lines
    edited["intent"]["data"]["tone"] = "friendly"
    other["intent"]["intent_id"] = "another"
    broken["intent"]["user_id"] = ""
    place.hybrid("dismiss", "--id", dismissed["dead_letter_id"], "--why", "over", "--yes")
    foreign = dict(letters(1)[0].to_dict(), cluster="elsewhere", place="workflow.dead-letters:0:1")
    old = dict(letters(1)[0].to_dict(), failed_at="2020-01-01T00:00:00Z")
    file = file_of(
        place,
        [edited, other, broken, fine, dismissed, fine, foreign, old, {"x": 1}, [], "half"],
    )
    path = Path(file)
    path.write_bytes(path.read_bytes() + b'{"half\n\n')
    run = place.start("import", file, "--yes")
    assert run.wait() == 2, run.said()
    assert [one.split(":")[0] for one in run.stderr.splitlines()[:-1]] == [
        "line 2", "line 3", "line 9", "line 10", "line 11", "line 12"
    ]  # fmt: skip
    assert "6 of 12 lines are bad" in run.stderr.splitlines()[-1]
    assert "line 2: intent_id must be" in run.stderr
    assert "line 3: it would be refused again: invalid_fields: user_id" in run.stderr
    assert "line 9: it is no dead letter: " in run.stderr
    assert "1 with another intent than they had" in run.stdout
    assert "1 are dismissed" in run.stdout
    assert "1 are there more than once" in run.stdout
    assert "1 are so old that it is not known any more" in run.stdout
    assert run.stdout.endswith("published 3\n")
    sent = {one[1]["replayed-dead-letter-id"].decode(): one for one in published(place, 3)}
    assert set(sent) == {one["dead_letter_id"] for one in (edited, fine, foreign)}
    intent = json.loads(sent[edited["dead_letter_id"]][2] or b"")
    assert intent == edited["intent"]
    # Of another cluster it goes where its key belongs, as publishers send it.
    key = json.loads(sent[foreign["dead_letter_id"]][2] or b"")["intent_id"].encode()
    assert sent[foreign["dead_letter_id"]][0] == partition_of(key, range(3), range(3))


def test_what_cannot_be_read_or_written_is_said(place: Place) -> None:
    assert "cannot be read" in place.hybrid("import", "/nowhere.jsonl", status=2)
    assert "cannot be written" in place.hybrid("export", "--out", "/nowhere/x", status=1)
    assert place.hybrid("export") == ""
    empty = file_of(place, [])
    assert place.hybrid("import", empty) == "0 of 0 lines will be published again\n"
