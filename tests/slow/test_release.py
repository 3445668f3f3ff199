"""`make release`, in a checkout of its own: what it makes, and what it refuses."""

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("schemas", "agents", "streams", "hybrid", "deploy/helm", "tools")
FILES = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore")


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed copy of what a release is made of, whose version has a date."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in NEEDED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    text = (folder / "CHANGELOG.md").read_text()
    dated = re.sub(r"(?m)^(## \S+) \(unreleased\)$", r"\1 (2026-12-31)", text)
    (folder / "CHANGELOG.md").write_text(f"{dated}\n## 0.0.1 (2020-01-01)\n\n- Older.\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all of it")
    return folder


def release(checkout: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/release.py", "--no-image", "--out", str(out)]
    return subprocess.run(
        command, cwd=checkout, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def made(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("release") / "dist"
    done = release(checkout, out)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()[:-1]) == {path.name for path in out.iterdir()}
    return out


def test_a_release_has_all_its_parts_and_their_sums(made: Path) -> None:
    kinds = (".whl", ".tar.gz", ".tgz", ".md", ".json")
    for kind in kinds:
        assert len([path for path in made.iterdir() if path.name.endswith(kind)]) == 1
    sums = dict(re.findall(r"(?m)^(\w{64})  (.+)$", (made / "SHA256SUMS").read_text()))
    assert len(sums) == len(kinds)
    for known, name in sums.items():
        assert hashlib.sha256((made / name).read_bytes()).hexdigest() == known


def test_the_wheel_says_its_licence_and_the_sdist_makes_the_same_wheel(
    made: Path, tmp_path: Path
) -> None:
    wheel = zipfile.ZipFile(next(made.glob("*.whl")))
    names = set(wheel.namelist())
    metadata = wheel.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    with tarfile.open(next(made.glob("*.tar.gz"))) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    build = "import sys; from setuptools import build_meta as b; b.build_wheel(sys.argv[1])"
    again = tmp_path / "again"
    again.mkdir()
    subprocess.run(
        [sys.executable, "-c", build, str(again)], cwd=source, check=True, capture_output=True
    )
    assert set(zipfile.ZipFile(next(again.glob("*.whl"))).namelist()) == names


def test_the_charts_package_has_one_folder_with_everything_in_it(made: Path) -> None:
    with tarfile.open(next(made.glob("*.tgz"))) as archive:
        names = set(archive.getnames())
    chart = ROOT / "deploy/helm/hybrid-orchestrator"
    files = {
        path.relative_to(chart.parent).as_posix() for path in chart.rglob("*") if path.is_file()
    }
    assert names == files
    assert "hybrid-orchestrator/templates/worker.yaml" in names


def test_the_changelogs_section_is_that_of_this_version(made: Path) -> None:
    text = next(made.glob("CHANGELOG-*.md")).read_text()
    assert text.startswith("- ")
    assert "Older" not in text
    assert re.search(r"(?m)^## ", text) is None


def test_the_same_commit_gives_the_same_files(made: Path, checkout: Path, tmp_path: Path) -> None:
    assert release(checkout, tmp_path / "dist").returncode == 0
    # gzip puts the time into the sdist, and setuptools leaves it there.
    before, after = (
        {line for line in (folder / "SHA256SUMS").read_text().splitlines() if "tar.gz" not in line}
        for folder in (made, tmp_path / "dist")
    )
    assert before == after


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("new.txt", "x", "the tree is not clean: commit or remove new.txt"),
        ("README.md", "x", "the tree is not clean: commit or remove README.md"),
    ],
)
def test_what_is_not_committed_is_refused(
    path: str, text: str, said: str, checkout: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "checkout"
    shutil.copytree(checkout, copied)
    (copied / path).write_text(text)
    done = release(copied, tmp_path / "dist")
    assert (done.returncode, done.stderr) == (2, f"release: {said}\n")
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize(
    ("path", "pattern", "text", "said"),
    [
        ("CHANGELOG.md", r"2026-12-31", "unreleased", "(unreleased)`: put the date there"),
        ("CHANGELOG.md", r"(?m)^## (\S+) \(2026", r"## 9.\1 (2026", "CHANGELOG.md has no section"),
        ("deploy/helm/hybrid-orchestrator/Chart.yaml", r"(?m)^version: .*", "version: 9.9.9",
         "make them the same"),
    ],
    ids=["undated", "unwritten", "chart"],
)  # fmt: skip
def test_a_version_that_is_not_ready_is_refused(
    path: str, pattern: str, text: str, said: str, checkout: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "checkout"
    shutil.copytree(checkout, copied)
    file = copied / path
    file.write_text(re.sub(pattern, text, file.read_text(), count=1))
    git(copied, "commit", "--all", "--quiet", "--message", "not ready")
    done = release(copied, tmp_path / "dist")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tag_of_another_version_is_refused(checkout: Path, tmp_path: Path) -> None:
    copied = tmp_path / "checkout"
    shutil.copytree(checkout, copied)
    git(copied, "tag", "v9.9.9")
    done = release(copied, tmp_path / "dist")
    assert done.returncode == 2
    assert "this commit is tagged v9.9.9" in done.stderr
