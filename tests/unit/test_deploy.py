"""What can be said about the deployment files without an engine."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from typer.testing import CliRunner

from hybrid.cli import app
from hybrid.config import FOUND, TABLES, load_settings
from hybrid.console.serving import place_of
from hybrid.errors import UsageError
from hybrid.secret_files import SECRETS
from schemas.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
#: What runs to its end, and whether it is tried again.
ONCE = {"check": "no", "setup": "on-failure:20"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def test_the_compose_file_has_all_parts_with_health_checks(services: dict[str, Any]) -> None:
    parts = {"kafka", "clickhouse", "grafana", "worker", "recorder", "setup", "simulator", "check"}
    assert parts | {"console"} == set(services)
    assert all("test" in one["healthcheck"] for name, one in services.items() if name not in ONCE)


def test_every_part_comes_back_after_the_engine_did_and_every_image_has_a_version(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        assert service["restart"] == ONCE.get(name, "unless-stopped")
        image = service["image"]
        assert image == "hybrid-orchestrator:latest" or re.search(r":\d+(\.\d+)+$", image), name


def test_what_kafka_clickhouse_and_grafana_write_lies_in_a_volume(services: dict[str, Any]) -> None:
    assert services["kafka"]["environment"]["KAFKA_LOG_DIRS"] == "/var/lib/kafka/data"
    for name, folder in (
        ("kafka", "/var/lib/kafka/data"),
        ("clickhouse", "/var/lib/clickhouse"),
        ("grafana", "/var/lib/grafana"),
    ):
        assert f"{name}:{folder}" in services[name]["volumes"]


def test_without_a_key_or_a_simulator_the_check_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "HYBRID_SIMULATOR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="no provider is configured: set OPENAI_API_KEY"):
        CliRunner().invoke(app, ["worker", "--check"], catch_exceptions=False)
    monkeypatch.setenv("HYBRID_SIMULATOR", "http://simulator:8089")
    assert CliRunner().invoke(app, ["worker", "--check"]).exit_code == 0


def test_the_check_reads_the_files_of_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(tmp_path / "openai"))
    with pytest.raises(UsageError, match=r"_FILE = .*openai cannot be read"):
        CliRunner().invoke(app, ["worker", "--check"], catch_exceptions=False)
    (tmp_path / "openai").write_text("sk-of-a-file\n")
    assert CliRunner().invoke(app, ["worker", "--check"]).exit_code == 0


def test_nothing_is_published_beyond_this_host_and_no_password_has_a_default(
    services: dict[str, Any],
) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert "127.0.0.1:29092:29092" in ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    text = (ROOT / "docker-compose.yml").read_text()
    assert "CLICKHOUSE_PASSWORD:-" not in text
    assert "CLICKHOUSE_PASSWORD:?" in text


def test_the_console_is_served_to_this_host_and_only_with_a_token(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    console = services["console"]
    command = console["command"][1:]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    port = int(options["--port"])
    assert console["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert urlsplit(options["--metrics"]).hostname in services
    # All else is read-only, and what is put together before it is sent lies in a file.
    assert [one.partition(":")[0] for one in console["tmpfs"]] == ["/tmp"]  # noqa: S108
    given = console["environment"]["HYBRID_CONSOLE_ADDRESSES"]
    address = given.removeprefix("${HYBRID_CONSOLE_ADDRESSES:-").removesuffix("}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")
    monkeypatch.setenv("HYBRID_CONSOLE_ADDRESSES", address)
    monkeypatch.delenv("HYBRID_CONSOLE_TOKEN", raising=False)
    with pytest.raises(UsageError, match="HYBRID_CONSOLE_TOKEN is not set"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    monkeypatch.setenv("HYBRID_CONSOLE_TOKEN", "a-token-of-twenty-four-b")
    place = place_of(load_settings(), host=options["--host"], port=port)
    assert not place.is_local
    asked = re.findall(r"http://([^/]+)/healthz", console["healthcheck"]["test"][-1])
    assert asked == [f"localhost:{port}"]
    assert {*asked, urlsplit(address).netloc} <= place.hosts


def test_env_example_names_every_setting_and_nothing_else() -> None:
    text = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"(?m)^#?([A-Z][A-Z0-9_]*)=", text))
    settings = {name.upper() for name in set(Settings.model_fields) - {*TABLES, *FOUND}}
    said_by_compose = {
        "KAFKA_BOOTSTRAP_SERVERS", "HYBRID_REPLICATION_FACTOR", "HYBRID_METRICS_PORT",
    }  # fmt: skip
    files = {f"{name.upper()}_FILE" for name in SECRETS}
    own = {"CLICKHOUSE_PASSWORD", "COMPOSE_PROFILES", "HYBRID_CONFIG"}
    assert named == (settings - said_by_compose) | files | own


def test_env_example_with_every_line_that_has_a_value_is_accepted() -> None:
    text = (ROOT / ".env.example").read_text()
    values = dict(re.findall(r"(?m)^#?((?:HYBRID|KAFKA)_[A-Z0-9_]*)=(.+)$", text))
    for name in [one for one in values if one.endswith("_FILE") or one == "HYBRID_CONFIG"]:
        del values[name]
    load_settings(environment=values, file=ROOT / "no-such.toml")


def test_every_dependency_and_variable_of_the_compose_file_exists(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
    for variable in services["worker"]["environment"]:
        assert variable.lower() in Settings.model_fields


def test_everything_the_image_copies_exists_and_every_package_is_copied() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", text)
    names = {name.rstrip("/") for line in copied for name in line.split()}
    assert {"schemas", "agents", "streams", "hybrid", "requirements"} <= names
    assert all((ROOT / name).exists() for name in names)
    assert "requirements/image.lock" in text
