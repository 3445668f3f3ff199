"""The units of deploy/systemd, by systemd's own tool; it starts none of them."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from hybrid.secret_files import SECRETS
from schemas.settings import Settings
from streams.worker.worker import STOP_GRACE_S
from tests.deploy.chart_tools import output_of
from tests.deploy.engine import ROOT

FOLDER = ROOT / "deploy/systemd"
UNITS = ("hybrid-worker@9464.service", "hybrid-recorder.service", "hybrid-setup.service")
#: Of ten; what is left is mostly the network, without which nothing works.
MOST_EXPOSED = 20


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with this checkout's command in place of the one that would be installed."""
    if shutil.which("systemd-analyze") is None:
        pytest.fail("no systemd-analyze here: install systemd", pytrace=False)
    here = str(Path(sys.executable).with_name("hybrid"))
    for path in FOLDER.glob("*.service"):
        text = path.read_text().replace("/opt/hybrid/bin/hybrid", here)
        assert here in text
        (tmp_path / path.name.replace("@", "@9464")).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_unit_and_finds_it_shut_in(name: str, units: Path) -> None:
    said = output_of("systemd-analyze", "verify", units / name)
    assert [line for line in said.splitlines() if "hybrid" in line] == []
    threshold = f"--threshold={MOST_EXPOSED}"
    output_of("systemd-analyze", "security", "--offline=true", threshold, units / name)


def test_secrets_are_credentials_of_the_service_and_every_variable_is_read() -> None:
    text = "".join(path.read_text() for path in FOLDER.iterdir())
    known = {name.upper() for name in Settings.model_fields}
    known |= {f"{name.upper()}_FILE" for name in SECRETS}
    named = set(re.findall(r"(?<=[ =])([A-Z]+_[A-Z0-9_]+)=", text))
    assert len(named) >= 6
    assert named - known == set()
    for name, file in re.findall(r"Environment=(\w+)_FILE=%d/(\w+)", text):
        assert file == name.lower()
        assert f"LoadCredential={file}:" in text


def test_a_worker_has_the_time_to_end_its_calls() -> None:
    text = (FOLDER / "hybrid-worker@.service").read_text()
    (stop,) = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", text)
    assert int(stop) > Settings().hybrid_drain_budget + STOP_GRACE_S
    assert "HYBRID_INSTANCE_ID=%H-%i" in text
