"""Providers that keep their answers, as a run's hybrid.toml has them."""

from pathlib import Path
from typing import Any

__all__ = ["BACKGROUND", "KEEPING", "background_file"]

#: How the simulator keeps answers, by what a run is about: a request of which nothing was heard is
#: found by its key (`found`), or nothing is heard of every fiftieth on purpose, and none is found.
KEEPING: dict[str, dict[str, Any]] = {
    "found": {"answer_ms": 20, "idempotent": True, "rate_lost": 0.02},
    "lost": {"answer_ms": 20, "rate_lost": 0.02},
}
#: Seconds for one attempt: kills take some, and none is to be cancelled for them.
TIMEOUT_S = 60

#: `found` knows a request again by its key, `kept` does not; both are the simulator's openai.
BACKGROUND = """
[[providers]]
name = "found"
kind = "openai-compatible"
base_url = "http://127.0.0.1:{port}/v1"
model = "gpt-3.5-turbo"
api = "responses"
background = true
idempotency_header = "Idempotency-Key"
timeout = {timeout}

[[providers]]
name = "kept"
kind = "openai-compatible"
base_url = "http://127.0.0.1:{port}/v1"
model = "gpt-3.5-turbo"
api = "responses"
background = true
timeout = {timeout}

[[routes]]
types = ["content_planning"]
providers = ["found"]

[[routes]]
providers = ["kept"]

[[prices]]
model = "gpt-3.5-turbo"
input = 2.0
output = 2.0
"""


def background_file(folder: Path, *, port: int, keeping: str) -> Path:
    """Write a run's hybrid.toml: every call goes to the provider that it is about."""
    name = "found" if keeping == "found" else "kept"
    text = BACKGROUND.format(port=port, timeout=TIMEOUT_S)
    file = folder / "hybrid.toml"
    file.write_text(
        text.replace('types = ["content_planning"]\n', "", 1).replace(
            'providers = ["found"]', f'providers = ["{name}"]', 1
        )
    )
    return file
