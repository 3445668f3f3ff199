"""The workflows, by actionlint: syntax, expressions, what the shell lines say."""

import pytest

from tests.deploy.chart_tools import ToolMissingError, need_tool, output_of
from tests.deploy.engine import ROOT

pytestmark = pytest.mark.timeout(900)


def test_actionlint_finds_nothing() -> None:
    try:
        actionlint = need_tool("actionlint")
    except ToolMissingError as error:
        pytest.fail(str(error), pytrace=False)
    files = sorted((ROOT / ".github/workflows").glob("*.yaml"))
    assert len(files) >= 3
    assert output_of(actionlint, *files) == ""
