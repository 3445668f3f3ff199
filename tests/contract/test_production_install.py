"""What production installs is enough: the wheel and requirements/runtime.lock, without extras."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: What runs in production; the servers of the local stack and the demo are of the extra `local`.
PRODUCTION = ("schemas", "agents", "streams", "hybrid")
LOCAL_ONLY = ("hybrid.demo", "hybrid.stack")
#: Refuses whatever the lock does not name, as an environment made from it would.
REFUSE = """
import importlib, importlib.abc, sys
refused = set({refused!r})
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None
sys.meta_path.insert(0, Absent())
{then}
"""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _refused(lock_file: str = "runtime.lock") -> list[str]:
    """Give the top-level modules of everything installed here that the lock does not name."""
    lock = (ROOT / "requirements" / lock_file).read_text()
    locked = {_plain(name) for name in re.findall(r"(?m)^([A-Za-z0-9._-]+)==", lock)}
    locked.add("hybrid-orchestrator")
    return sorted(
        module
        for module, owners in packages_distributions().items()
        if not {_plain(owner) for owner in owners} & locked
    )


def _modules() -> list[str]:
    found = []
    for package in PRODUCTION:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            name = name.removesuffix(".__init__")
            if not name.startswith(LOCAL_ONLY) and not name.endswith("__main__"):
                found.append(name)
    return found


def _run(
    then: str, *arguments: str, lock_file: str = "runtime.lock"
) -> subprocess.CompletedProcess[str]:
    script = REFUSE.format(refused=_refused(lock_file), then=then)
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )


def test_what_is_refused_here_is_what_the_extras_bring() -> None:
    assert {"chdb", "jgo", "zstandard", "pytest"} <= set(_refused())


def test_every_production_module_is_imported_without_extras() -> None:
    modules = _modules()
    assert {"hybrid.runtime", "streams.worker.build", "hybrid.commands.stack"} <= set(modules)
    done = _run(f"for name in {modules!r}: importlib.import_module(name)")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_local_stack_says_which_extra_it_needs() -> None:
    done = _run("from hybrid.cli import main; main()", "up")
    assert done.returncode == 2
    assert "hybrid-orchestrator[local]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_client_needs_no_more_than_its_own_lock() -> None:
    assert {"faust", "openai", "rich", "clickhouse_connect", "tenacity"} <= set(
        _refused("client.lock")
    )
    opened = "from hybrid.client import HybridClient; HybridClient(kafka_bootstrap_servers='x:1')"
    done = _run(opened, lock_file="client.lock")
    assert (done.returncode, done.stderr) == (0, "")
