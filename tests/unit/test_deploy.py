"""What can be said about the deployment files without an engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def test_the_compose_file_has_all_parts_with_health_checks(services: dict[str, Any]) -> None:
    assert {"kafka", "clickhouse", "grafana", "worker", "recorder", "setup"} == set(services)
    assert all("healthcheck" in one for name, one in services.items() if name != "setup")


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
    assert "requirements/runtime.lock" in text
