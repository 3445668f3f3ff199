"""What the doctor makes of what it meets."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError
from pydantic import SecretStr

from hybrid import broker_checks, doctor
from hybrid.broker_checks import judge_instance, judge_replication, judge_rights
from hybrid.checking import Check, Probe, guarded, run_probes, score_of
from hybrid.host_checks import check_content, check_secrets
from hybrid.store_checks import judge_dead_letters, judge_orphans, judge_store
from schemas.settings import Settings
from streams.kafka.topics import TopicReport
from streams.membership.single_instance import Process
from tests.builders import NOW

HERE = Process("here", 1, 1)


def a_report(least: str) -> TopicReport:
    return TopicReport("t", 1, "ok", config={"min.insync.replicas": least})


def test_no_error_of_a_broker_ends_the_doctor() -> None:
    async def fails(_settings: Settings) -> Check:
        raise GroupCoordinatorNotAvailableError

    found = asyncio.run(guarded(Probe("recorder", fails), Settings()))
    assert (found.name, found.state) == ("recorder", "broken")
    assert "GroupCoordinatorNotAvailableError" in found.detail


@pytest.mark.parametrize(("count", "said"), [(1, "1 broker answers"), (3, "3 brokers answer")])
def test_brokers_are_counted_in_words(
    monkeypatch: pytest.MonkeyPatch, count: int, said: str
) -> None:
    @asynccontextmanager
    async def cluster(_settings: Settings) -> AsyncIterator[Any]:
        async def describe() -> dict[str, Any]:
            return {"brokers": [{}] * count}

        yield SimpleNamespace(describe_cluster=describe)

    monkeypatch.setattr(broker_checks, "admin_client", cluster)
    assert asyncio.run(broker_checks.check_broker(Settings())).detail == said


def test_workers_of_the_local_stack_need_no_key_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """`hybrid up` runs in another terminal; it has given its workers simulated providers."""
    stack = {"kafka": "127.0.0.1:9", "clickhouse": "http://127.0.0.1:9/hybrid"}

    async def said(settings: Settings) -> tuple[str, str]:
        found = {one.name: one for one in await doctor.examine(settings)}
        return found["providers"].state, found["providers"].detail

    monkeypatch.setattr("hybrid.config.running_stack", lambda: stack)
    assert asyncio.run(said(Settings()))[0] == "ok"
    elsewhere = Settings(kafka_bootstrap_servers="127.0.0.1:9")
    refused = ("warning", "no key is set: workers will refuse to start")
    assert asyncio.run(said(elsewhere)) == refused
    monkeypatch.setattr("hybrid.config.running_stack", lambda: None)
    assert asyncio.run(said(Settings())) == refused


def states(checks: list[Check]) -> dict[str, str]:
    return {one.name: one.state for one in checks}


def test_what_hangs_on_a_broken_check_is_unknown_and_nothing_else() -> None:
    def says(state: str) -> Callable[[Settings], Awaitable[Check]]:
        async def ask(_settings: Settings) -> Check:
            return Check("x", state, "")

        return ask

    probes = [
        Probe("a", says("broken")), Probe("b", says("ok"), ("a",)), Probe("c", says("ok"), ("b",)),
        Probe("d", says("warning")), Probe("e", says("ok"), ("d",)),
    ]  # fmt: skip
    found = asyncio.run(run_probes(Settings(), probes))
    assert states([replace(one, name=p.name) for one, p in zip(found, probes, strict=True)]) == {
        "a": "broken", "b": "unknown", "c": "unknown", "d": "warning", "e": "ok",
    }  # fmt: skip
    assert score_of(found) == 30


@pytest.mark.parametrize(
    ("check", "state", "words"),
    [
        (judge_store("26.9", NOW, [("default", 5, 100)], now=NOW), "warning", "5% free"),
        (judge_store("26.9", NOW, [("default", 50, 100), ("s3", 0, 0)], now=NOW), "ok", "26.9"),
        (
            judge_store("26.9", NOW - timedelta(seconds=61), [], now=NOW),
            "warning",
            "differ by 61 s",
        ),
        (judge_orphans(0, "0"), "ok", "no worker died"),
        (judge_orphans(3, "0.5"), "warning", "may have cost 0.5 USD"),
        (judge_dead_letters(1, 20, Settings()), "ok", "1 of the last"),
        (judge_dead_letters(2, 20, Settings()), "warning", "2 of the last"),
        (judge_dead_letters(9, 10, Settings()), "ok", "9 of the last"),  # too few to say anything
        (judge_instance("w", None, HERE), "ok", "no worker runs"),
        (judge_instance("w", Process("here", 9, 1), HERE), "ok", "runs here"),
        (judge_instance("w", Process("there", 9, 1), HERE), "warning", "runs with it on there"),
        (judge_rights(Settings(), []), "ok", "may do all"),
        (
            judge_rights(Settings(), [("WRITE on topic", "workflow.results")]),
            "warning",
            "lacks WRITE on topic workflow.results",
        ),
        (
            judge_rights(
                Settings(),
                [("WRITE on topic", "workflow.results"), ("READ on topic", "workflow.intents")],
            ),
            "ok",
            "no worker's",
        ),
        (judge_replication(1, {"t": 1}, []), "ok", "one broker"),
        (judge_replication(3, {"t": 1}, []), "warning", "have one copy"),
        (judge_replication(3, {"t": 3}, [a_report("3")]), "warning", "takes no record"),
        (judge_replication(3, {"t": 3}, [a_report("1")]), "warning", "taken for safe"),
        (judge_replication(3, {"t": 3}, [a_report("2")]), "ok", "may be lost"),
    ],
)
def test_what_was_found_is_judged(check: Check, state: str, words: str) -> None:
    assert check.state == state, check
    assert words in check.detail
    assert bool(check.advice) == (state == "warning")


@pytest.mark.parametrize(
    "changes",
    [
        {"hybrid_instance_id": "worker-s3cr3t-value"},
        {"openai_base_url": "https://x.example/s3cr3t-value"},
    ],
)
def test_a_secret_that_stands_elsewhere_too_is_found(changes: dict[str, str]) -> None:
    settings = Settings(openai_api_key=SecretStr("s3cr3t-value"))
    assert asyncio.run(check_secrets(settings)).state == "ok"
    found = asyncio.run(check_secrets(settings.model_copy(update=changes)))
    assert found.state == "broken"
    assert "s3cr3t" not in found.detail + found.advice


def keys_in(folder: Path, **files: str) -> Check:
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    return asyncio.run(check_content(Settings(hybrid_content_keys=str(folder))))


def test_key_files_are_read_and_are_their_owners_alone(tmp_path: Path) -> None:
    line = "k1 " + base64.b64encode(b"k" * 32).decode()
    assert asyncio.run(check_content(Settings())).state == "ok"
    gone = asyncio.run(check_content(Settings(hybrid_content_keys=str(tmp_path / "no"))))
    assert (gone.state, "cannot be read (No such file" in gone.detail) == ("broken", True)
    assert "there is no key file default" in keys_in(tmp_path).detail
    assert "line 1: must be" in keys_in(tmp_path, default="k1 short").detail
    assert "no text of letters" in keys_in(tmp_path, default="é").detail
    good = keys_in(
        tmp_path, **{"default": line, "acme%2Feu": line.replace("k1", "k2"), ".new": "x"}
    )
    assert (good.state, good.detail[:28]) == ("ok", "2 key files with 2 keys: con")
    (tmp_path / "default").chmod(0o640)
    assert keys_in(tmp_path).state == "warning"
    assert line[3:] not in keys_in(tmp_path, default=f"{line} x").detail
