"""The bugs of `make mutants` can still be put back: the code they were in is there."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from mutate import BUGS, Bug  # noqa: E402 - beside the script


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_known_bug_can_be_put_back(bug: Bug) -> None:
    text = (ROOT / bug.file).read_text()
    assert text.count(bug.right) == 1
