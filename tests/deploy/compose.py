"""Docker's compose plugin, installed or built, and a checkout for it to run in."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from hybrid.stack.jars import cache_folder
from tests.deploy.engine import ROOT, Engine, EngineMissingError

__all__ = ["checkout", "with_compose"]

#: The version that is made here where the machine has none.
VERSION = "v5.0.2"
MODULE = "github.com/docker/compose/v5"


def with_compose(engine: Engine, folder: Path) -> Engine:
    """Give an engine whose command knows `compose`; raises EngineMissingError.

    Where it is not installed it is built from its Go module, once: it stays in the user's cache.
    """
    if engine.docker("compose", "version", check=False).returncode == 0:
        return engine
    plugins = folder / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(_built_plugin())
    found = replace(engine, configuration=folder)
    found.docker("compose", "version")
    return found


def _built_plugin() -> Path:
    plugin = cache_folder() / "cli-plugins" / f"docker-compose-{VERSION}"
    if plugin.exists():
        return plugin
    if shutil.which("go") is None:
        message = "no `docker compose` here: install Docker's compose plugin, or Go to build it"
        raise EngineMissingError(message)
    plugin.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=plugin.parent) as folder:
        flags = f"-s -w -X {MODULE}/internal.Version={VERSION}"
        done = subprocess.run(
            ["go", "install", "-ldflags", flags, f"{MODULE}/cmd@{VERSION}"],
            env={**os.environ, "GOBIN": folder},
            capture_output=True, text=True, timeout=1800, check=False,
        )  # fmt: skip
        if done.returncode:
            message = f"the compose plugin cannot be built by Go: {done.stderr.strip()[-500:]}"
            raise EngineMissingError(message)
        (Path(folder) / "cmd").replace(plugin)
    return plugin


def checkout(folder: Path) -> Path:
    """Give what somebody has who clones the project: the files that git knows, as they are now."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run([*command, "--exclude-standard"], check=True, capture_output=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).exists():  # git knows a file that was deleted until that is committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder
