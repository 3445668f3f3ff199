"""What `make upgrade` takes for the last release, and whose outcome an outcome is."""

from pathlib import Path

import pytest

from tests.upgrade.mixed import version_at
from tests.upgrade.released import BEFORE_TAGS, ReleasedError, install, last_release


def test_a_commit_that_is_not_here_is_refused_by_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ReleasedError, match=r"v0\.0\.0-none is no commit here"):
        install("v0.0.0-none", tmp_path)


def test_a_release_stands_for_the_last_one_where_none_is_tagged() -> None:
    assert last_release() == BEFORE_TAGS or last_release().startswith("v")


def test_a_part_is_of_the_version_that_it_began_to_be_last() -> None:
    began = [(0.0, "worker-0", True), (0.0, "worker-1", True), (9.0, "worker-0", False),
             (20.0, "worker-0", True)]  # fmt: skip
    assert [version_at(began, "worker-0", at) for at in (1.0, 9.0, 19.9, 21.0)] == [
        True, False, False, True,
    ]  # fmt: skip
    assert version_at(began, "worker-1", 30.0)
