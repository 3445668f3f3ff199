"""Folder and ports of the local stack: the folder is locked, the ports are remembered."""

import fcntl
import http.client
import json
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from hybrid.errors import UsageError
from hybrid.stack.process import free_port

__all__ = [
    "answers",
    "lock_folder",
    "remember_ports",
    "remembered_ports",
    "usable_port",
    "usable_ports",
]

PORTS_FILE = "ports.json"


def lock_folder(folder: Path) -> IO[str]:
    """Take a data folder for this process; raises UsageError when that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        message = f"--data-dir {folder} cannot be used: {error.strerror}"
        raise UsageError(message) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        message = (
            f"--data-dir {folder} is in use by another `hybrid up`; stop that one, or "
            "choose another folder"
        )
        raise UsageError(message) from error
    return lock


def remembered_ports(folder: Path) -> dict[str, int]:
    """Give the ports that this data folder's stack had before; empty for a new folder."""
    with suppress(OSError, ValueError):
        document = json.loads((folder / PORTS_FILE).read_text(encoding="utf-8"))
        return {str(name): int(port) for name, port in document.items()}
    return {}


def remember_ports(folder: Path, ports: dict[str, int]) -> None:
    """Keep the ports, so that what was pointed at this stack still is after a restart."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PORTS_FILE).write_text(json.dumps(ports), encoding="utf-8")


def usable_port(port: int | None, option: str, before: int | None = None) -> int:
    """Give the port asked for, else the one used before if it is free, else a free one.

    Raises UsageError when the one asked for cannot be used.
    """
    if port is None:
        try:
            return usable_port(before, option) if before else free_port()
        except UsageError:
            return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            message = f"{option} {port}: the port cannot be used ({error.strerror}); choose another"
            raise UsageError(message) from error
    return port


def usable_ports(
    names: Iterable[str], first: int | None, option: str, before: Mapping[str, int]
) -> dict[str, int]:
    """Give each name a port, from the one asked for upwards, else as `usable_port` does."""
    return {
        name: usable_port(first + number if first else None, option, before.get(name))
        for number, name in enumerate(names)
    }


def answers(port: int, path: str) -> bool:
    """Whether a server of ours answers 200 there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
