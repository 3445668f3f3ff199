"""The wheel carries everything that the code reads at run time."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_prompts_migrations_and_locks(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("schemas", "agents", "streams", "hybrid"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(tmp_path), str(source)], check=True, timeout=120)
    wheel = next(tmp_path.glob("*.whl"))
    names = set(zipfile.ZipFile(wheel).namelist())
    for wanted in (
        "agents/templates/default.txt",
        "schemas/migrations/0001_tables.sql",
        "schemas/views/wasted_spend.sql",
        "hybrid/stack/kafka-jars.lock",
        "streams/lanes/lane.py",
    ):
        assert wanted in names
    assert not any(name.startswith("tests/") for name in names)
