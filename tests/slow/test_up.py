"""`hybrid up` in the shell of somebody who has settings of his own."""

import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from hybrid.stack.process import Child, hybrid_command
from tests.integration.driving import eventually
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration

TOML = """
[[providers]]
name = "eu"
kind = "openai"
key_variable = "EU_KEY"
model = "gpt-4o-mini"
base_url = "http://127.0.0.1:9/v1"
"""
INTENT = '{"intent_id": "a", "type": "message_generation", "user_id": "u", "data": {"x": 1}}\n'


def test_up_takes_the_callers_settings_and_plays_all_providers_when_asked(tmp_path: Path) -> None:
    config, ready = tmp_path / "hybrid.toml", tmp_path / "ready.json"
    config.write_text(TOML)
    own = {
        "XDG_STATE_HOME": str(tmp_path),  # for what a running stack announces
        "HYBRID_CONFIG": str(config),
        "EU_KEY": "k",
        "HYBRID_DEFER_DELAYS": "3,6,9",
        "HYBRID_TOPIC_PREFIX": "team",
        "HYBRID_PARTITIONS": "4",
        # Of another cluster: they have no say here.
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_BOOTSTRAP_SERVERS": "elsewhere.example:9092",
    }
    child = Child(
        "up",
        hybrid_command(
            "up",
            "--simulate",
            "--ready-file",
            str(ready),
            "--workers",
            "1",
            "--data-dir",
            str(tmp_path / "data"),
        ),
        log_file=tmp_path / "up.log",
        environment=own,
    )
    try:
        eventually(lambda: ready.exists() or child.exit_status() is not None, bool, within_s=120)
        assert child.exit_status() is None, child.tail(5)
        addresses: dict[str, Any] = json.loads(ready.read_text())
        # It says so to people a moment after it has said it to programs.
        played = "provider eu: simulated: costs nothing"
        eventually(lambda: child.tail(20), lambda said: played in said, within_s=10)
        kafka = {"KAFKA_BOOTSTRAP_SERVERS": addresses["kafka"], "KAFKA_SASL_MECHANISM": ""}
        mine = {**own, **kafka, "CLICKHOUSE_URL": addresses["clickhouse"]}
        assert hybrid("publish", "-", environment=mine, given=INTENT).returncode == 0
        found = eventually(lambda: hybrid("results", environment=mine).stdout, bool, within_s=30)
        assert json.loads(found)["provider"] == "eu"
        _shows_the_console(addresses["console"], tmp_path / "data" / "console-link")
        _is_for_programs_only(addresses["clickhouse"].replace("default:@", ""))
    finally:
        child.stop(within_s=40)


def _shows_the_console(address: str, link_file: Path) -> None:
    """It is there with the stack, and its link is for who owns the stack."""
    with urllib.request.urlopen(f"{address}/", timeout=30) as answer:
        assert 'id="live"' in answer.read().decode()
    assert link_file.read_text().startswith(f"{address}/enter?code=")
    assert link_file.stat().st_mode & 0o077 == 0


def _is_for_programs_only(address: str) -> None:
    """The printed address answers a program, and no page in a browser."""

    def asked(query: str = "", method: str = "GET", **headers: str) -> int:
        url = f"{address}?query={query}" if method == "GET" else address
        data = query.replace("+", " ").encode() if method == "POST" else None
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code

    assert asked() == 200
    assert asked("SELECT+1") == 200
    assert asked("SELECT+count()+FROM+provider_attempts", "POST") == 200
    for header in (
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example:8123"},
    ):
        assert asked("SELECT+1", **header) == 403
        assert asked("SELECT+1", "POST", **header) == 403
    assert asked("DROP+TABLE+provider_attempts") >= 400
    assert asked("SELECT+*+FROM+file('/etc/hostname')") >= 400
    assert asked("SELECT+*+FROM+file('/etc/hostname')", "POST") >= 400
