"""The file in which a running local stack says its addresses, for commands elsewhere."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["announce", "running_stack", "withdraw", "write_json"]


def _state_file() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "hybrid-orchestrator" / "stack.json"


def running_stack() -> dict[str, Any] | None:
    """Give the addresses of the stack that announced itself, if its process still runs."""
    try:
        document: dict[str, Any] = json.loads(_state_file().read_text(encoding="utf-8"))
        os.kill(int(document["pids"]["up"]), 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return document


def announce(addresses: dict[str, Any]) -> bool:
    """Say the addresses, unless another running stack has; False then."""
    other = running_stack()
    if other is not None and other["pids"]["up"] != os.getpid():
        return False
    with suppress(OSError):
        write_json(_state_file(), addresses)
    return True


def withdraw() -> None:
    """Take our own announcement back."""
    stack = running_stack()
    if stack is not None and stack["pids"]["up"] == os.getpid():
        _state_file().unlink(missing_ok=True)


def write_json(file: Path, document: dict[str, Any]) -> None:
    """Replace a file in one step, so that no reader sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f"{file.name}.{os.getpid()}.new")
    scratch.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    scratch.replace(file)
