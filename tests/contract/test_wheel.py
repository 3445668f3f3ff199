"""The wheel carries everything that the code reads at run time."""

import zipfile
from pathlib import Path


def test_the_wheel_holds_prompts_migrations_and_locks(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for wanted in (
        "agents/templates/default.txt",
        "schemas/migrations/0001_tables.sql",
        "schemas/views/wasted_spend.sql",
        "hybrid/stack/kafka-jars.lock",
        "streams/lanes/lane.py",
        # Type checkers of those who use the client believe annotations by this file only.
        "hybrid/py.typed",
        "schemas/py.typed",
    ):
        assert wanted in names
    assert not any(name.startswith("tests/") for name in names)
