"""The engine and the product's image, once a session."""

import re
from collections.abc import Iterator

import pytest

from tests.deploy.engine import ROOT, Engine, EngineMissingError, running_engine
from tests.deploy.standins import need_image

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
def bases(engine: Engine) -> None:
    """What the product's image is built upon."""
    try:
        for base in set(re.findall(r"(?m)^FROM (\S+)", (ROOT / "deploy/Dockerfile").read_text())):
            need_image(engine, base)
    except EngineMissingError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def image(engine: Engine, bases: None) -> str:  # noqa: ARG001 - it has to be there
    """The production image, built from this tree."""
    file = ROOT / "deploy/Dockerfile"
    engine.docker("build", "--quiet", "--file", str(file), "--tag", IMAGE, str(ROOT))
    return IMAGE
