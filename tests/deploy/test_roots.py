"""Root folders for stand-ins: a copy that works; what debootstrap leaves when it is ended.

That it fails or takes too long, only a fake of it does on demand.
"""

import subprocess
from pathlib import Path

import pytest

from hybrid.stack.process import wait_until
from tests.deploy.copied import can_copy, copy_packages
from tests.deploy.debootstrap import make_root
from tests.deploy.engine import EngineMissingError
from tests.deploy.standins import PACKAGES, SUITE

#: Mounts into the root folder, as the real one does with /proc; notes who it is; says something.
FAKE = """#!/bin/sh
mkdir -p "$4/proc/inner"
mount -t tmpfs tmpfs "$4/proc"
mkdir "$4/proc/inner"
mount -t tmpfs tmpfs "$4/proc/inner"
echo "I: Unpacking everything"
{rest}
"""


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ('sleep 300 & echo $! > "$4.pid"; wait', "did not end within 1 s"),
        ("exit 1", "failed"),
    ],
)  # fmt: skip
def test_it_ends_with_all_it_started_and_leaves_nothing_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: str, said: str
) -> None:
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin/debootstrap"
    fake.write_text(FAKE.format(rest=rest))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/sbin:/usr/bin:/sbin:/bin")
    root = tmp_path / "root"
    with pytest.raises(EngineMissingError, match=f"debootstrap {said}; .* Unpacking everything"):
        make_root(root, "bookworm", ["python3"], limit_s=1)
    assert str(root) not in Path("/proc/mounts").read_text()
    if "sleep" in rest:
        started = int(root.with_name("root.pid").read_text())
        assert wait_until(lambda: not runs(started), within_s=10)


def runs(pid: int) -> bool:
    try:
        return "sleep" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not can_copy(SUITE, PACKAGES), reason="not this Debian, or packages of it lack")
def test_a_copy_has_python_and_the_users_of_a_new_debian_and_nothing_else_of_this_machine(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    copy_packages(root, PACKAGES)
    story = "useradd --uid 1000 somebody && id -u somebody && python3 -m venv /v && /v/bin/pip -V"
    done = subprocess.run(
        ["chroot", root, "bash", "-c", story], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1000\npip ")
    assert not (root / "etc/shadow").exists() or "$" not in (root / "etc/shadow").read_text()
    assert not (root / "etc/apt/sources.list.d").exists() or not [
        *(root / "etc/apt/sources.list.d").iterdir()
    ]
    assert not (root / "usr/local/bin").exists() or not [*(root / "usr/local/bin").iterdir()]
