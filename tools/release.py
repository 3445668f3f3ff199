"""`make release`: everything that a release consists of, made of what is committed, into dist/.

Wheel, sdist, the chart's package, the changelog's section, the contract and the sums of all; the
image too where a container engine answers. What is not committed is refused, since nobody could
make it again.
"""

import argparse
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHART = Path("deploy/helm/hybrid-orchestrator")
BUILD = """
import sys
from setuptools import build_meta
out = sys.argv[1]
build_meta.build_wheel(out)
build_meta.build_sdist(out)
"""


class RefusedError(Exception):
    """Raised when a release cannot be made; the text says what to do."""


def git(*arguments: str) -> str:
    """Run git in the checkout; gives what it printed; raises RefusedError."""
    done = subprocess.run(
        ["git", *arguments],  # noqa: S607 - wherever the system has it
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        message = f"git {arguments[0]}: {done.stderr.strip()}"
        raise RefusedError(message)
    return done.stdout.rstrip("\n")


def require_clean() -> None:
    """Refuse a tree with anything in it that is not committed; raises RefusedError."""
    changed = [line[3:] for line in git("status", "--porcelain").splitlines()]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""  # noqa: PLR2004
        message = f"the tree is not clean: commit or remove {', '.join(changed[:3])}{more}"
        raise RefusedError(message)


def version_of(source: Path) -> str:
    """Give the version, the same in package and chart, and in the tag where there is one."""
    version = str(tomllib.loads((source / "pyproject.toml").read_text())["project"]["version"])
    chart = dict(
        re.findall(
            r'(?m)^(version|appVersion): "?([^"\n]+)', (source / CHART / "Chart.yaml").read_text()
        )
    )
    if set(chart.values()) != {version}:
        message = f"pyproject.toml says {version}, Chart.yaml {chart}: make them the same"
        raise RefusedError(message)
    tags = [tag for tag in git("tag", "--points-at", "HEAD").splitlines() if tag.startswith("v")]
    if tags and f"v{version}" not in tags:
        message = f"this commit is tagged {', '.join(tags)}, and the version is {version}"
        raise RefusedError(message)
    return version


def section_of(changelog: str, version: str) -> str:
    """Give what the changelog says of a version; raises RefusedError where it has no date yet."""
    found = re.search(rf"(?ms)^## {re.escape(version)} \(([^)]*)\)\n(.*?)(?=^## |\Z)", changelog)
    if found is None:
        message = f"CHANGELOG.md has no section `## {version} (DATE)`: write it"
        raise RefusedError(message)
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", found[1]):
        message = f"CHANGELOG.md says `{version} ({found[1]})`: put the date there, as 2026-12-31"
        raise RefusedError(message)
    return found[2].strip() + "\n"


def package_chart(source: Path, out: Path, version: str, moment: int) -> None:
    """Pack the chart as helm does: one folder of its name; the same bytes each time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted((source / CHART).rglob("*")):
            if path.is_file():
                entry = tarfile.TarInfo(f"{CHART.name}/{path.relative_to(source / CHART)}")
                entry.size, entry.mtime, entry.mode = path.stat().st_size, moment, 0o644
                archive.addfile(entry, io.BytesIO(path.read_bytes()))
    file = out / f"{CHART.name}-{version}.tgz"
    file.write_bytes(gzip.compress(packed.getvalue(), mtime=moment))


def contract_of(version: str) -> str:
    """Give the messages as this release promises them: the next ones are compared with it."""
    command = [sys.executable, str(ROOT / "tools/contract.py"), "--keep", version]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def build_image(source: Path, version: str) -> str:
    """Build the image where an engine answers; gives what to say of it."""
    engine = shutil.which("docker")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if engine is None or subprocess.run([engine, "info"], check=False, **quiet).returncode:
        return "no image: no container engine answers"
    name = f"hybrid-orchestrator:{version}"
    revision = git("rev-parse", "HEAD")
    subprocess.run(
        [engine, "build", "--file", "deploy/Dockerfile", "--tag", name,
         "--build-arg", f"VERSION={version}", "--build-arg", f"REVISION={revision}", "."],
        cwd=source, check=True,
    )  # fmt: skip
    return f"image {name}"


def release(out: Path, *, image: bool) -> list[str]:
    """Make all of it; gives lines that say what there is; raises RefusedError."""
    require_clean()
    moment = int(git("log", "-1", "--format=%ct"))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        archive = subprocess.run(
            ["git", "archive", "HEAD"],  # noqa: S607
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as committed:
            committed.extractall(source, filter="data")
        version = version_of(source)
        section = section_of((source / "CHANGELOG.md").read_text(), version)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        (out / f"CHANGELOG-{version}.md").write_text(section)
        package_chart(source, out, version, moment)
        (out / f"contract-{version}.json").write_text(contract_of(version))
        subprocess.run(
            [sys.executable, "-c", BUILD, str(out)],
            cwd=source,
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(moment)},
        )
        said = build_image(source, version) if image else "no image: none was asked for"
    made = sorted(path for path in out.iterdir() if path.is_file())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made]
    (out / "SHA256SUMS").write_text("".join(sums))
    return [*(path.name for path in made), "SHA256SUMS", said]


def main() -> int:
    """Make a release; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="default: dist")
    parser.add_argument("--no-image", action="store_true", help="build no image")
    options = parser.parse_args()
    try:
        for line in release(options.out.absolute(), image=not options.no_image):
            print(line)
    except RefusedError as error:
        print(f"release: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"release: {error.cmd[0]} failed with {error.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
