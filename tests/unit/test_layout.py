"""The checkout itself."""

import importlib
import re
from pathlib import Path

import pytest

from schemas.vocabulary import LogEvent

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["schemas", "agents", "streams", "hybrid"])
def test_each_package_resolves_to_this_checkout(name: str) -> None:
    """A wheel beside another product's `agents` package would overwrite it."""
    found = importlib.import_module(name).__file__
    assert found is not None
    assert Path(found).parent == ROOT / name


def test_the_lock_files_name_no_host_and_pin_everything_with_hashes() -> None:
    for path in (ROOT / "requirements").glob("*.lock"):
        text = path.read_text()
        assert "://" not in text
        assert text.count("==") >= 1
        assert len(re.findall(r"(?m)^[A-Za-z0-9]", text)) <= text.count("--hash=sha256:")


def test_every_named_log_event_is_used() -> None:
    sources = "".join(
        path.read_text()
        for name in ("agents", "streams", "hybrid")
        for path in (ROOT / name).rglob("*.py")
    )
    built = {"openai_execution", "azure_execution"}  # chosen by the provider's name
    unused = [
        event.name
        for event in LogEvent
        if f"LogEvent.{event.name}" not in sources and event.value.rsplit("_", 1)[0] not in built
    ]
    assert unused == []
