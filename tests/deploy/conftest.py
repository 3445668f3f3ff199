"""The engine and the product's image, once a session."""

import re
from collections.abc import Iterator

import pytest

from tests.deploy.engine import ROOT, Engine, EngineMissingError, running_engine

IMAGE = "hybrid-orchestrator:test"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A container engine; without one the tests fail, by the sentence that says what to do."""
    try:
        with running_engine() as found:
            yield found
    except EngineMissingError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The production image, built from this tree."""
    file = ROOT / "deploy/Dockerfile"
    try:
        for base in set(re.findall(r"(?m)^FROM (\S+)", file.read_text())):
            engine.need_base(base)
    except EngineMissingError as error:
        pytest.fail(str(error), pytrace=False)
    engine.docker("build", "--quiet", "--file", str(file), "--tag", IMAGE, str(ROOT))
    return IMAGE
