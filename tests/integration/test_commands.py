"""The command as its users run it."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from typer.testing import CliRunner

from hybrid.cli import app
from hybrid.stack.process import free_port
from schemas.events import ReplayRecord
from schemas.vocabulary import LetterState
from streams.kafka.clients import producer
from streams.kafka.topics import check_topics, ensure_topics
from streams.lanes.letters import dead_letter
from streams.lanes.verdicts import internal
from streams.messages.identity import identify
from streams.publishing.dead_letters import Selection
from streams.triage.book import read_book
from streams.triage.choosing import Choice, Chooser
from streams.triage.letter_reader import planned_letters
from streams.triage.stands import standing_letters
from tests.builders import NOW, NOW_MS, an_incoming
from tests.chaos.running import RunningStack
from tests.integration.databases import address_of, with_database
from tests.integration.driving import Case, eventually
from tests.integration.forked import Forked, starts_otherwise

pytestmark = pytest.mark.integration


def hybrid(
    *arguments: str, environment: dict[str, str] | None = None, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in an environment of its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KAFKA_", "CLICKHOUSE_", "OPENAI_", "AZURE_", "HYBRID_"))
    }
    if starts_otherwise(environment or {}):
        done = subprocess.run(
            [sys.executable, "-m", "hybrid", *arguments],
            env={**kept, **(environment or {})},
            input=given,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    else:
        with tempfile.TemporaryDirectory() as folder:
            wanted = {**kept, **(environment or {})}
            command = Forked(*arguments, environment=wanted, folder=Path(folder), given=given or "")
            status = command.wait(90)
            done = subprocess.CompletedProcess(arguments, status, command.stdout, command.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def local(stack: RunningStack) -> dict[str, str]:
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    return stack.stack.environment()


def test_publish_reports_a_bad_line_and_publishes_the_rest(
    stack: RunningStack, local: dict[str, str], tmp_path: Path
) -> None:
    case = Case(stack)
    lines = [json.dumps(case.intent()), "{broken", json.dumps(case.intent()), '{"type": "x"}']
    file = tmp_path / "intents.jsonl"
    file.write_text("\n".join(lines) + "\n")
    done = hybrid("publish", str(file), environment=local)
    assert done.returncode == 1
    assert done.stdout.strip() == "published 2"
    assert "line 2: the value is not JSON" in done.stderr
    assert "line 4: user_id: Field required" in done.stderr
    case.wait(2)
    shown = hybrid("results", "--intent-id", f"{case.name}-1", environment=local)
    assert json.loads(shown.stdout)["intent_id"] == f"{case.name}-1"


@pytest.mark.parametrize(
    ("encoding", "published", "said"),
    [
        ("utf-8-sig", 2, ""),
        ("utf-16", 0, "line 1: the file is UTF-16 or UTF-32: save it as UTF-8, as JSON wants\n"),
    ],
)
def test_a_file_of_windows_is_published_or_refused_by_name(
    stack: RunningStack, local: dict[str, str], tmp_path: Path, encoding: str, published: int,
    said: str,
) -> None:  # fmt: skip
    case = Case(stack)
    lines = "".join(f"{json.dumps(case.intent())}\r\n" for _ in range(2))
    file = tmp_path / "intents.jsonl"
    file.write_bytes(lines.encode(encoding))
    done = hybrid("publish", str(file), environment=local)
    assert (done.returncode, done.stdout) == (int(not published), f"published {published}\n")
    assert done.stderr.startswith(said)
    assert bool(done.stderr) == bool(said)


def test_a_dead_letter_is_listed_shown_and_replayed_once(
    stack: RunningStack, local: dict[str, str]
) -> None:
    case = Case(stack)
    stack.set_faults({"openai": {"always": "400"}, "azure": {}})
    case.publish(case.intent())
    letter = case.dead_letter()
    identifier = letter["dead_letter_id"]
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {}})
    listed = hybrid("dlq", "list", "--reason", "rejected", "--format", "json", environment=local)
    assert identifier in {row["dead_letter_id"] for row in json.loads(listed.stdout)}
    shown = hybrid("dlq", "show", identifier, environment=local)
    assert json.loads(shown.stdout)["intent_id"] == letter["intent_id"]
    dry = hybrid("dlq", "replay", "--id", identifier, "--dry-run", environment=local)
    assert dry.stdout.startswith("1 dead letters will be replayed, of 1 that match")
    refused = hybrid("dlq", "replay", "--id", identifier, environment=local, given="")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    replayed = hybrid("dlq", "replay", "--id", identifier, "--yes", environment=local)
    assert "replayed 1" in replayed.stdout
    found = case.wait(2)
    # Before the limit counts, what has been replayed is left out.
    again = hybrid("dlq", "replay", "--id", identifier, "--limit", "1", "--yes", environment=local)
    assert (again.returncode, again.stdout.startswith("0 dead letters will be")) == (0, True)
    assert [len(results) for results in found.results.values()] == [1]
    assert len(case.calls()) == 2


def test_what_is_replayed_is_chosen_without_keeping_the_letters(stack: RunningStack) -> None:
    """The newest of each intent, by tenant; a million letters would not fit into memory."""
    name = f"m{uuid.uuid4().hex[:8]}"
    own = stack.settings.model_copy(update={"hybrid_topic_prefix": name, "hybrid_partitions": 1})
    count, size = 300, 50_000
    value = json.dumps({"type": "x", "user_id": "u", "data": {"long": "x" * size}}).encode()

    def letter(number: int, tenant: str, replays: int) -> bytes:
        incoming = an_incoming(value)
        who = identify(incoming, max_bytes=2 * size).who
        made = dead_letter(incoming, who, internal("x"), dead_letter_id="d", now=NOW)
        changed = {
            "dead_letter_id": f"{tenant}-{number}-{replays}",
            "intent_id": f"i-{number}",
            "tenant": tenant,
            "replay_count": replays,
        }
        return made.model_copy(update=changed).to_json()

    async def story() -> tuple[int, int, list[str], Choice]:
        await ensure_topics(own)
        async with producer(own) as client:
            sent = [
                await client.send(own.topics.dead_letters, letter(number, tenant, replays))
                for number in range(count)
                for tenant, replays in (("a", 0), ("a", 1), ("b", 0))
            ]
            await asyncio.gather(*sent)
            done = ReplayRecord(dead_letter_id="b-0-0", tenant="b", decided_at_ms=NOW_MS)
            await client.send_and_wait(own.topics.replays, done.to_json(), b"b-0-0")
        book = await read_book(own)

        async def choose(selection: Selection) -> Choice:
            chooser = Chooser()
            every = replace(selection, limit=None)
            async for place, letter, state in standing_letters(own, every, book):
                if chooser.wants(letter, state):
                    chooser.take(place, letter)
            return chooser.choice(selection.limit)

        tracemalloc.start()
        all_of_them = await choose(Selection())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        few = await choose(Selection(tenant="b", limit=2))
        letters = planned_letters(own, few.places, after={})
        names = [one.dead_letter_id async for _, one in letters]
        return peak, len(all_of_them.places), names, few

    peak, chosen, names, few = asyncio.run(story())
    assert chosen == 2 * count - 1  # of `a` the newest, of `b` all but the replayed one
    assert names == ["b-1-0", "b-2-0"]
    assert (few.beyond_limit, dict(few.by_state)) == (count - 3, {LetterState.REPLAYED: 1})
    assert peak < 3 * count * size / 2, "the letters alone are twice as much"


@pytest.mark.parametrize("by", ["provider,model,tenant", "type,day"])
def test_the_cost_report_answers_by_any_dimension(local: dict[str, str], by: str) -> None:
    done = hybrid("costs", "report", "--by", by, "--format", "json", environment=local)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    assert done.returncode == 0
    assert set(by.split(",")) <= set(rows[0]) if rows else True


@pytest.mark.parametrize(
    ("question", "form"),
    [("top", "table"), ("latency", "csv"), ("wasted", "json"), ("report", "table")],
)
def test_every_cost_question_has_its_formats(
    local: dict[str, str], question: str, form: str
) -> None:
    done = hybrid("costs", question, "--format", form, environment=local)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_ledger_is_cut_into_segments_that_can_be_compacted(stack: RunningStack) -> None:
    """With Kafka's own week a worker would read seven days of decisions at its start."""
    reports = asyncio.run(check_topics(stack.settings))
    found = {one.name: one.config["segment.ms"] for one in reports}
    assert found[stack.settings.topics.ledger] == "3600000"


def test_topics_and_migrations_can_be_ensured_again(local: dict[str, str]) -> None:
    done = hybrid("topics", "ensure", "--format", "json", environment=local)
    states = {row["state"] for row in json.loads(done.stdout)}
    assert (done.returncode, states) == (0, {"ok"})
    assert "nothing to apply" in hybrid("migrate", environment=local).stdout
    assert "CREATE TABLE" in hybrid("migrate", "--dry-run").stdout


def test_the_doctor_finds_everything_well(local: dict[str, str]) -> None:
    done = hybrid("doctor", "--format", "json", environment=local)
    rows = json.loads(done.stdout)
    # Other tests of this stack kill workers, and make dead letters.
    states = {row["state"] for row in rows if row["check"] not in {"orphans", "dead-letters"}}
    assert (done.returncode, states) == (0, {"ok"}), done.stdout
    assert done.stderr.startswith("score: ")


def test_the_doctor_knows_what_is_not_applied_not_recorded_and_not_priced(
    stack: RunningStack, local: dict[str, str]
) -> None:
    environment = {
        **local,
        "CLICKHOUSE_URL": address_of(with_database(stack.settings)),
        "HYBRID_TOPIC_PREFIX": "nowhere",
        "HYBRID_OPENAI_MODEL": "mystery-9",
    }
    done = hybrid("doctor", "--format", "json", environment=environment)
    found = {row["check"]: (row["state"], row["detail"]) for row in json.loads(done.stdout)}
    assert done.returncode == 1
    assert found["clickhouse"][0] == "broken"
    assert "0001_tables" in found["clickhouse"][1]
    assert "views" in found["clickhouse"][1]
    assert found["recorder"] == ("ok", "ClickHouse has all records")
    assert found["prices"][0] == "warning"
    assert "mystery-9 at openai" in found["prices"][1]


def test_the_doctor_asks_whom_a_worker_would_call(tmp_path: Path) -> None:
    config = tmp_path / "hybrid.toml"
    config.write_text(
        '[[providers]]\nname = "own"\nkind = "openai-compatible"\nmodel = "m"\n'
        'base_url = "http://me:s3cr@127.0.0.1:9/v1"\n'
    )
    environment = {"HYBRID_CONFIG": str(config), "KAFKA_BOOTSTRAP_SERVERS": ""}
    for simulator, asked in (("", "127.0.0.1:9 "), ("http://127.0.0.1:8", "127.0.0.1:8 ")):
        environment["HYBRID_SIMULATOR"] = simulator
        done = hybrid("doctor", "--format", "json", environment=environment)
        found = {row["check"]: row["detail"] for row in json.loads(done.stdout)}
        assert found["own"].startswith(asked)
        assert "providers" not in found  # it needs no key: nobody refuses to start


def test_the_doctor_says_what_is_broken() -> None:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "CLICKHOUSE_URL": f"http://127.0.0.1:{free_port()}/hybrid",
    }
    done = hybrid("doctor", "--format", "json", environment=environment)
    rows = json.loads(done.stdout)
    broken = {row["check"] for row in rows if row["state"] == "broken"}
    assert (done.returncode, broken) == (1, {"kafka", "clickhouse"})
    unknown = {row["check"]: row["advice"] for row in rows if row["state"] == "unknown"}
    assert unknown["topics"] == "mend kafka first"
    assert unknown["orphans"] == "mend clickhouse first"


WRONG = {
    "a value that is not allowed": (
        ["worker"],
        {"HYBRID_CONCURRENCY": "many"},
        "HYBRID_CONCURRENCY = 'many'",
    ),
    "too many retries": (
        ["worker"],
        {"HYBRID_RETRY_DELAYS": "1,2,3,4"},
        "at most 3 delays",
    ),
    "falling delays": (["worker"], {"HYBRID_DEFER_DELAYS": "10,5"}, "rising seconds"),
    "a secret is not shown": (
        ["worker"],
        {"CLICKHOUSE_URL": "s3cret"},
        "CLICKHOUSE_URL = (not shown)",
    ),
    "a webhook that is no URL": (
        ["recorder"],
        {"HYBRID_ALERT_WEBHOOK": "pager"},
        "HYBRID_ALERT_WEBHOOK = (not shown): must be an http(s) URL",
    ),
    "a signing secret that cannot be read": (
        ["recorder"],
        {"HYBRID_ALERT_WEBHOOK": "https://a.b/c", "HYBRID_ALERT_SECRET": "whsec_*"},
        "HYBRID_ALERT_SECRET = (not shown): must be base64",
    ),
    "a signing secret for nothing": (
        ["recorder"],
        {"HYBRID_ALERT_SECRET": "s"},
        "HYBRID_ALERT_WEBHOOK is needed too",
    ),
    "half of azure": (["worker"], {"AZURE_OPENAI_API_KEY": "k"}, "AZURE_OPENAI_ENDPOINT"),
    "a format that does not exist": (["costs", "report", "--format", "xml"], {}, "xml"),
    "a dimension that does not exist": (["costs", "report", "--by", "colour"], {}, "--by colour"),
    "a moment that is none": (["costs", "report", "--since", "yore"], {}, "--since yore"),
    "a file that is not there": (
        ["publish", "/no/such/file"],
        {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"},
        "No such file",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_users_mistake_is_one_sentence_and_exit_2(name: str) -> None:
    arguments, environment, sentence = WRONG[name]
    done = hybrid(*arguments, environment=environment)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["worker"], ["recorder"], ["results"], ["dlq", "list"], ["topics", "ensure"]]
)
def test_a_broker_that_is_not_there_is_one_sentence_and_exit_2(arguments: list[str]) -> None:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "CLICKHOUSE_URL": f"http://127.0.0.1:{free_port()}/hybrid",
        "OPENAI_API_KEY": "k",
        "HYBRID_METRICS_PORT": "0",
    }
    done = hybrid(*arguments, environment=environment)
    assert done.returncode == 2
    assert "no Kafka broker answers at" in done.stderr


@pytest.mark.parametrize("arguments", [["costs", "report"], ["migrate"]])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1", "it cannot be reached (Connection refused); check CLICKHOUSE_URL"),
        ("http://nowhere.invalid:1", "it cannot be reached ("),
        ("http://a..b:1", "it cannot be reached (label empty or too long)"),
        ("https://{simulator}", "it does not speak TLS there; write http://"),
    ],
)
def test_why_clickhouse_does_not_answer_is_one_sentence(
    simulator: str, arguments: list[str], url: str, said: str
) -> None:
    url = url.format(simulator=simulator.removeprefix("http://"))
    scheme, _, host = url.partition("://")
    login = {"CLICKHOUSE_URL": f"{scheme}://me:s3crhunter2@{host}/hybrid"}
    done = hybrid(*arguments, environment=login)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(f"hybrid: ClickHouse at {url}: {said}")


@pytest.mark.parametrize(
    "arguments",
    [["results"], ["results", "--follow"], ["dlq", "list"], ["dlq", "show", "x"], ["recorder"],
     ["publish", "-"]],
)  # fmt: skip
def test_topics_that_are_missing_are_named(local: dict[str, str], arguments: list[str]) -> None:
    own = {**local, "HYBRID_TOPIC_PREFIX": "nowhere", "HYBRID_METRICS_PORT": "0"}
    intent = '{"type": "a", "user_id": "u", "data": {}}'
    done = hybrid(*arguments, environment=own, given=intent)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hybrid: topics are missing: nowhere.")
    assert done.stderr.endswith("run `hybrid topics ensure` first\n")


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("costs prices > /dev/full", 1, "hybrid: the output cannot be written (No space left"),
        ("costs prices --format csv > /dev/full", 1, "hybrid: the output cannot be written ("),
        ("costs prices >&-", 0, ""),
        ("costs prices >&- 2>&-", 0, ""),
        ("publish - <&-", 2, "hybrid: standard input is closed: name a file"),
    ],
)
def test_streams_that_are_full_or_closed(line: str, status: int, said: str) -> None:
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m hybrid {line}"],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == bool(said)


def test_a_taken_port_is_one_sentence_and_exit_2(stack: RunningStack) -> None:
    port = str(stack.stack.ports["kafka"])
    done = hybrid("up", "--kafka-port", port)
    assert (done.returncode, f"--kafka-port {port}" in done.stderr) == (2, True)


def test_a_data_folder_in_use_is_one_sentence_and_exit_2(stack: RunningStack) -> None:
    done = hybrid("up", "--data-dir", str(stack.stack.folder))
    assert (done.returncode, "in use by another" in done.stderr) == (2, True)


def test_no_network_at_the_first_start_is_one_sentence_and_exit_2(tmp_path: Path) -> None:
    environment = {
        "XDG_CACHE_HOME": str(tmp_path),
        "HTTPS_PROXY": f"http://127.0.0.1:{free_port()}",
        "HTTP_PROXY": f"http://127.0.0.1:{free_port()}",
    }
    done = hybrid("up", environment=environment)
    assert (done.returncode, "needs network access" in done.stderr) == (2, True), done.stderr


def test_every_command_has_help_with_an_example() -> None:
    runner = CliRunner()
    for command in (
        ["demo"], ["up"], ["worker"], ["recorder"], ["publish"], ["results"], ["dlq", "list"],
        ["dlq", "show"], ["dlq", "replay"], ["costs", "report"], ["costs", "top"],
        ["costs", "latency"], ["costs", "wasted"], ["topics", "ensure"], ["migrate"],
        ["schemas", "export"], ["doctor"], ["simulator"],
    ):  # fmt: skip
        done = runner.invoke(app, [*command, "--help"])
        assert done.exit_code == 0
        assert "Example" in done.stdout, command


def test_schemas_are_exported(tmp_path: Path) -> None:
    assert hybrid("schemas", "export", str(tmp_path)).returncode == 0
    assert json.loads((tmp_path / "asyncapi.json").read_text())["asyncapi"] == "3.1.0"
    assert len(list(tmp_path.glob("*.schema.json"))) >= 9


def test_metrics_health_and_readiness_are_served(stack: RunningStack) -> None:
    import urllib.request

    base = stack.stack.addresses()["metrics"][0].removesuffix("/metrics")

    def get(path: str, accept: str = "*/*") -> str:
        request = urllib.request.Request(base + path, headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return str(answer.read().decode())

    assert get("/healthz") == "ok\n"
    text = eventually(lambda: get("/metrics"), lambda text: "hybrid_outcomes_total" in text)
    assert "\nhybrid_oldest_waiting_seconds 0.0\n" in text
    assert get("/readyz") == "ready\n"
    case = Case(stack)
    case.publish(*(case.intent() for _ in range(16)))  # some of them are this worker's
    assert len(case.wait(16).results) == 16
    text = eventually(
        lambda: get("/metrics", "application/openmetrics-text"),
        lambda text: 'hybrid_attempts_total{outcome="success",provider="openai"}' in text,
    )
    found = {one.name: one for one in text_string_to_metric_families(text)}
    assert any(one.exemplar for one in found["hybrid_call_seconds"].samples), "a trace to look at"
    assert any(one.exemplar for one in found["hybrid_result_seconds"].samples)


def test_topics_take_the_brokers_own_replication_where_nothing_is_said(
    local: dict[str, str],
) -> None:
    """A broker's default is asked for by -1, which the client library refuses."""
    own = {name: value for name, value in local.items() if name != "HYBRID_REPLICATION_FACTOR"}
    own["HYBRID_TOPIC_PREFIX"] = "stranger"
    done = hybrid("topics", "ensure", "--format", "json", environment=own)
    assert done.returncode == 0, done.stderr
    assert {one["state"] for one in json.loads(done.stdout)} == {"created"}
    too_many = {**own, "HYBRID_REPLICATION_FACTOR": "3", "HYBRID_TOPIC_PREFIX": "stranger3"}
    done = hybrid("topics", "ensure", environment=too_many)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "set HYBRID_REPLICATION_FACTOR to at most the number of brokers" in done.stderr


def test_a_missing_key_stops_only_what_calls(local: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "hybrid.toml"
    file.write_text(
        '[[providers]]\nname = "eu"\nkind = "openai"\nkey_variable = "EU_KEY"\nmodel = "m"\n'
        'base_url = "http://127.0.0.1:1/v1"\n'
    )
    own = {**local, "HYBRID_CONFIG": str(file)}
    own.pop("HYBRID_SIMULATOR", None)
    for arguments in (("dlq", "list"), ("costs", "report"), ("schemas", "export", str(tmp_path))):
        assert hybrid(*arguments, environment=own).returncode == 0
    done = hybrid("worker", environment=own)
    assert (done.returncode, "EU_KEY is not set" in done.stderr) == (2, True)
