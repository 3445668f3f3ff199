"""Content that is safe, on real parts: what is planted is found nowhere that it need not be."""

import asyncio
import base64
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from hybrid.stack.process import free_port
from streams.kafka.reading import read_topic
from streams.publishing.intents import open_producer
from streams.store.clickhouse import ClickHouse
from tests.chaos.batching import batching_settings
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually
from tests.integration.test_commands import hybrid

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

MAIL = "anna.planted@example.org"
PLANTED = {
    "mail": MAIL,
    "phone": "+49 170 5550199",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "key": "sk-planted-abcdefghijklmnop",
    "order": "ORD-777001",
}
TEXT = "; ".join(PLANTED.values())
OWN = """
[[protect]]
name = "order"
pattern = 'ORD-[0-9]{6}'
"""
#: Hop by hop, or made anew by who forwards.
NOT_PASSED = {"host", "content-length", "connection", "transfer-encoding", "accept-encoding"}


class Ear(ThreadingHTTPServer):
    """Stands before the simulator, and keeps all that it would receive."""

    daemon_threads = True

    def __init__(self, to: int) -> None:
        super().__init__(("127.0.0.1", 0), _Ear)
        self.to, self.heard = to, list[str]()


class _Ear(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Ear

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.heard.append(f"{self.path} {self.headers} {body.decode(errors='replace')}")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in NOT_PASSED}
        url = f"http://127.0.0.1:{self.server.to}{self.path}"
        request = Request(url, body or None, headers, method=self.command)
        try:
            with urlopen(request, timeout=30) as answer:
                status, kind, said = answer.status, answer.headers["Content-Type"], answer.read()
        except HTTPError as error:
            status, kind, said = error.code, error.headers["Content-Type"], error.read()
        said = said.replace(b"REVEAL", b"[EMAIL_1]")  # as a model does that was told of it
        self.send_response(status)
        self.send_header("Content-Type", kind or "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_DELETE = _pass_on  # noqa: N815 - as http.server calls them

    def log_message(self, *_said: Any) -> None:
        """Say nothing."""


@contextmanager
def listening(to: int) -> Iterator[Ear]:
    ear = Ear(to)
    thread = threading.Thread(target=ear.serve_forever)
    thread.start()
    try:
        yield ear
    finally:
        ear.shutdown()
        thread.join()
        ear.server_close()


def key_line(name: str) -> str:
    return f"{name} {base64.b64encode(os.urandom(32)).decode()}\n"


class Place:
    """A stack with protection on, what its provider heard, and its keys."""

    def __init__(self, stack: RunningStack, ear: Ear, keys: Path) -> None:
        self.stack, self.ear, self.keys = stack, ear, keys

    def run(self, *arguments: str, **more: str) -> str:
        names = {**os.environ, **self.stack.stack.environment(), **more}
        done = hybrid(*arguments, environment=names)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *arguments: str) -> str:
        done = hybrid(*arguments, environment={**os.environ, **self.stack.stack.environment()})
        assert done.returncode == 1, done.stdout
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.stderr

    def restart(self) -> None:
        """End the worker; it comes back, and reads the key files again."""
        (before,) = self.stack.pids()
        os.kill(before, signal.SIGTERM)
        eventually(
            self.stack.pids,
            lambda pids: pids and pids[0] != before and self.stack.ready(0),
        )


@pytest.fixture(scope="module", params=["content", "reference"])
def place(
    stack: RunningStack, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Place]:
    port, folder = free_port(), tmp_path_factory.mktemp("content")
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    (keys / "default").write_text(key_line("old"))
    (keys / "default").chmod(0o600)
    with listening(port) as ear:
        file = folder / "hybrid.toml"
        file.write_text(batching_settings(ear.server_address[1]) + OWN)
        environment = {
            "HYBRID_CONFIG": str(file),
            "HYBRID_BATCH_WAIT": "1",
            "HYBRID_PROTECT": "all",
            "HYBRID_CONTENT_KEYS": str(keys),
            "HYBRID_DEAD_LETTERS": request.param,
            "HYBRID_LOG_LEVEL": "debug",
        }
        with running_stack(
            workers=1, environment=environment, partitions=4, simulator_port=port, host=stack
        ) as running:
            running.set_faults({"openai": {"latency_ms": 5}})
            yield Place(running, ear, keys)


async def records(stack: RunningStack) -> dict[str, list[str]]:
    found = {}
    for spec in stack.settings.topics.specs():
        found[spec.name] = [
            f"{one.key!r} {one.value!r} {one.headers!r}"
            async for one in read_topic(stack.settings, spec.name)
        ]
    return found


def in_tables(stack: RunningStack) -> str:
    store = ClickHouse(stack.settings)
    try:
        tables = ("provider_attempts", "workflow_outcomes", "workflow_events")
        return repr([store.rows(f"SELECT * FROM {table}") for table in tables])
    finally:
        store.close()


def bill(case: Case) -> list[tuple[Any, ...]]:
    store = ClickHouse(case.stack.settings)
    try:
        _, found = store.rows(
            "SELECT intent_id, toString(cost_usd) FROM provider_attempts FINAL "
            f"WHERE startsWith(intent_id, '{case.name}') AND status = 'finished' ORDER BY intent_id"
        )
        return [tuple(one) for one in found]
    finally:
        store.close()


def planted_in(text: str) -> set[str]:
    """What of the planted is in a text, as it is, or in something that base64 has encoded."""
    return {name for name, value in PLANTED.items() if any(one in text for one in _forms(value))}


def _forms(value: str) -> list[str]:
    """A value as it is, and as base64 writes what has it at any place: without the signs beside."""
    forms = [value]
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + value.encode()).decode()
        forms.append(whole[-(-8 * shift // 6) : (shift + len(value)) * 8 // 6])
    return forms


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_what_is_planted_would_be_found(before: str) -> None:
    text = f"{before}{TEXT} and more"
    assert planted_in(text) == set(PLANTED)
    assert planted_in(base64.b64encode(text.encode()).decode()) == set(PLANTED)


def in_files(stack: RunningStack) -> dict[str, set[str]]:
    """What is in the files of the stack: its processes' logs and data, but not the broker's."""
    folder = stack.stack.folder
    files = [one for one in folder.rglob("*") if one.is_file() and one.stat().st_size < 2**26]
    assert any(one.name == "worker-0.log" for one in files)
    return {
        str(one): seen for one in files if (seen := planted_in(one.read_bytes().decode("latin-1")))
    }


def test_what_is_planted_is_found_nowhere_else_and_all_that_is_done_with_it_works(
    place: Place,
) -> None:
    stack, topics = place.stack, place.stack.settings.topics
    stack.set_faults({"openai": {"latency_ms": 5, "batching": {"turnaround_s": 1.0}}})
    case = Case(stack)
    soon = (datetime.now(UTC) + timedelta(seconds=8)).isoformat()
    told = case.intent({"text": TEXT, "note": "[[sim:text=Dear REVEAL]]"})
    same = {"marker": case.name, "text": TEXT, "note": "[[sim:text=Dear REVEAL]]"}
    cached = [case.intent(same, cache=True) for _ in range(2)]
    later = case.intent({"text": TEXT}, not_before=soon)
    line = case.intent({"text": TEXT, "note": "[[sim:text=Dear REVEAL]]"}, processing="batch")
    wrong = case.intent({"text": TEXT, "note": "[[sim:status=400]]"}, user_id="u-wrong")
    case.publish(told, *cached, later, line, wrong)
    # It waits sealed on a deferred topic, and in a batch, before it is answered.
    eventually(
        lambda: asyncio.run(records(stack)),
        lambda found: (
            any(b"hybrid-seal".decode() in one for one in found[topics.deferred[-1]])
            and any("hybrid-seal" in one for one in found[topics.batches])
        ),
    )
    found = case.wait(6)
    assert set(found.dead_letters) == {wrong["intent_id"]}
    for one in (told, line, *cached):
        assert found.results[one["intent_id"]][0]["content"] == f"Dear {MAIL}"
    assert [found.results[one["intent_id"]][0]["metadata"]["cached"] for one in cached].count(
        True
    ) == 1
    eventually(lambda: len(bill(case)), lambda count: count >= 5)

    everywhere = asyncio.run(records(stack))
    own = {topics.intents, topics.results}
    assert planted_in("\n".join(everywhere[topics.intents])) == set(PLANTED)
    shown = {name: "\n".join(lines) for name, lines in everywhere.items() if name not in own}
    shown |= {"tables": in_tables(stack), "heard": "\n".join(place.ear.heard)}
    assert "[CARD_1]" in shown["heard"]
    assert "[ORDER_1]" in shown["heard"]
    assert {name: seen for name, text in shown.items() if (seen := planted_in(text))} == {}
    assert in_files(stack) == {}

    # Who operates it goes on doing so.
    assert wrong["intent_id"] in place.run("dlq", "list", "--wide")
    assert "400" in place.run("trace", wrong["intent_id"])
    stored = json.loads(place.run("dlq", "show", "--content", wrong["intent_id"]))
    if place.stack.stack.environment()["HYBRID_DEAD_LETTERS"] == "content":
        assert stored["intent"]["data"]["text"] == TEXT
    before = len(place.ear.heard)
    place.run("dlq", "replay", "--id", wrong["intent_id"], "--yes")
    eventually(lambda: len(case.outcomes().dead_letters[wrong["intent_id"]]), lambda n: n == 2)
    assert len(place.ear.heard) > before
    assert "replay" in place.run("trace", wrong["intent_id"])


def test_a_rotated_key_reads_what_was_written_before(place: Place) -> None:
    case = Case(place.stack)
    case.publish(case.intent({"text": TEXT, "note": "[[sim:status=400]]"}))
    letter = case.dead_letter()
    file = place.keys / "default"
    before = file.read_text()
    file.write_text(key_line("new") + before)
    place.restart()
    last = Case(place.stack)
    last.publish(last.intent({"text": TEXT, "note": "[[sim:status=400]]"}))
    last.dead_letter()
    for one in (case, last):
        place.run("dlq", "replay", "--intent-id", f"{one.name}-1", "--yes")
        eventually(
            lambda one=one: len(one.outcomes().dead_letters[f"{one.name}-1"]), lambda n: n == 2
        )
    if letter["sealed"] is not None:
        whole = file.read_text()
        file.write_text(whole.splitlines()[0] + "\n")  # the old one is lost
        said = json.loads(place.run("dlq", "show", letter["dead_letter_id"]))
        file.write_text(whole)
        assert "encrypted with key old," in said["suggested_action"]


def test_a_forgotten_persons_content_cannot_be_read_and_the_bill_stays(place: Place) -> None:
    case = Case(place.stack)
    user = f"user-{case.name}"
    ask = {"text": TEXT, "note": "[[sim:status=400]]"}
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    mine, other = case.intent(ask, user_id=user), case.intent(ask, user_id="another")
    open_one = case.intent({"text": TEXT}, user_id=user, not_before=later)
    case.publish(mine, other, open_one)
    case.wait(2)
    topics = place.stack.settings.topics
    eventually(
        lambda: asyncio.run(records(place.stack)),
        lambda found: any(
            open_one["intent_id"] in one for name in topics.deferred for one in found[name]
        ),
    )
    charged = eventually(lambda: bill(case), lambda rows: len(rows) >= 2)
    if place.stack.stack.environment()["HYBRID_DEAD_LETTERS"] == "content":
        shown = json.loads(place.run("dlq", "show", "--content", mine["intent_id"]))
        assert shown["intent"]["data"]["text"] == TEXT
    names = {**os.environ, **place.stack.stack.environment(), "HYBRID_CONTENT_KEYS": ""}
    bare = hybrid("forget", "--user", user, "--yes", environment=names)
    assert bare.returncode == 2
    assert "HYBRID_CONTENT_KEYS is not set here" in bare.stderr
    wrong = hybrid("dlq", "list", environment={**names, "HYBRID_CONTENT_KEYS": "/nowhere"})
    assert wrong.returncode == 2
    assert "the key files cannot be read (No such file or directory)" in wrong.stderr
    assert "1 open intents ended" in place.run("forget", "--user", user, "--yes")
    assert case.wait(3).dead_letters[open_one["intent_id"]][0]["reason"] == "cancelled"
    if place.stack.stack.environment()["HYBRID_DEAD_LETTERS"] == "content":
        for one in (mine, open_one):
            shown = json.loads(place.run("dlq", "show", "--content", one["intent_id"]))
            assert shown["intent"] is None
            assert "content forgotten" in shown["suggested_action"]
        said = place.run("dlq", "replay", "--intent-id", mine["intent_id"], "--yes")
        assert "content forgotten" in said
        kept = json.loads(place.run("dlq", "show", "--content", other["intent_id"]))
        assert kept["intent"]["data"]["text"] == TEXT
    assert mine["intent_id"] in place.run("dlq", "list", "--wide")
    assert bill(case) == charged


def test_a_line_whose_person_is_forgotten_while_it_is_in_a_batch_ends_once(place: Place) -> None:
    faults = {"latency_ms": 5, "batching": {"turnaround_s": 600.0}}
    place.stack.set_faults({"openai": faults})
    case = Case(place.stack)
    user = f"user-{case.name}"
    case.publish(case.intent({"text": TEXT}, user_id=user, processing="batch"))
    name, topics = f"{case.name}-1", place.stack.settings.topics
    eventually(
        lambda: asyncio.run(records(place.stack))[topics.batches],
        lambda found: any(name in one for one in found),
    )
    said = place.refused("forget", "--user", user, "--yes", "--wait", "0")
    assert "1 intents of" in said
    assert "have not ended yet" in said
    place.restart()
    letter = case.dead_letter(within_s=90)
    assert (letter["reason"], letter["error_code"]) == ("cancelled", "content_forgotten")
    assert not letter["retriable"]


def test_what_stands_at_its_source_no_more_is_said_to_be_gone(place: Place) -> None:
    if place.stack.stack.environment()["HYBRID_DEAD_LETTERS"] != "reference":
        pytest.skip("dead letters hold what came")
    case = Case(place.stack)
    case.publish(case.intent({"text": TEXT, "note": "[[sim:status=400]]"}))
    letter = case.dead_letter()
    assert letter["by_reference"]
    shown = json.loads(place.run("dlq", "show", "--content", letter["dead_letter_id"]))
    assert shown["intent"]["data"]["text"] == TEXT
    changes = ({"offset": 10**9}, {"timestamp": "2026-01-01T00:00:00.000Z"}, {"partition": 999})
    for number, change in enumerate(changes):
        gone = {
            **letter,
            "intent_id": f"{case.name}-gone-{number}",
            "source": {**letter["source"], **change},
        }
        asyncio.run(write(place.stack, gone))
        shown = json.loads(place.run("dlq", "show", gone["intent_id"]))
        assert "it stands there no more" in shown["intent_problem"]
        said = place.run("dlq", "replay", "--intent-id", gone["intent_id"], "--yes")
        assert "1 cannot be replayed: the dead letter says only where" in said


async def write(stack: RunningStack, letter: dict[str, Any]) -> None:
    async with open_producer(stack.settings) as client:
        topic = stack.settings.topics.dead_letters
        await client.send_and_wait(topic, json.dumps(letter).encode(), key=b"gone")
