"""A root folder of the packages that this machine has installed, which takes seconds.

It holds what the packages hold, not what this machine has made of itself beside them; the few files
that packages make when they are set up are made here. Documentation is left out.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

__all__ = ["can_copy", "copy_packages"]

RELEASE = Path("/etc/os-release")
LEFT_OUT = tuple(f"/usr/share/{name}/" for name in ("doc", "info", "locale", "man"))
#: Folders that have been links into /usr since the two were merged.
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
FORMAT = "${Package}\t${Essential} ${Priority}\t${db:Status-Status}\t${Pre-Depends}, ${Depends}\t${Provides}\n"


#: What every Debian has: by the word of a package's field Essential, or of its Priority.
BASE = {"yes", "required"}


def can_copy(suite: str, names: Iterable[str]) -> bool:
    """Whether this machine is of that suite of Debian, and has these packages."""
    if shutil.which("dpkg-query") is None or not RELEASE.exists():
        return False
    if f"VERSION_CODENAME={suite}" not in RELEASE.read_text().splitlines():
        return False
    needs, _ = _installed()
    return set(names) <= needs.keys()


def copy_packages(root: Path, names: Iterable[str]) -> None:
    """Fill a new folder with these packages, those of every Debian, and what they need."""
    listed = subprocess.run(
        ["dpkg", "-L", *_closure(names)], check=True, capture_output=True, text=True
    )
    paths = {_merged(path) for path in listed.stdout.splitlines() if path.startswith("/")}
    wanted = sorted(
        path[1:] for path in paths
        if path != "/." and not path.startswith(LEFT_OUT) and os.path.lexists(path)
    )  # fmt: skip
    root.mkdir()
    archive = root.with_name(f"{root.name}.packages")
    pack = ["tar", "-C", "/", "--no-recursion", "--null", "--files-from=-", "-cf", str(archive)]
    subprocess.run(pack, input="\0".join(wanted), text=True, check=True)
    subprocess.run(["tar", "-C", str(root), "-xf", str(archive)], check=True)
    archive.unlink()
    _set_up(root)


def _set_up(root: Path) -> None:
    """Make what the packages make when they are set up, as far as images need it."""
    for name in MERGED:
        if Path("/", name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    for name, mode in (("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700)):
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(mode)
    (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)


def _merged(path: str) -> str:
    """Give where a packaged path lies since /bin and the like are links."""
    first = path[1:].partition("/")[0]
    return f"/usr{path}" if first in MERGED and Path("/", first).is_symlink() else path


def _closure(names: Iterable[str]) -> list[str]:
    """Give packages, those of every Debian, and all that these need."""
    needs, base = _installed()
    found, left = set(), [*names, *base]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += needs[name]
    return sorted(found)


def _installed() -> tuple[dict[str, list[str]], list[str]]:
    """Give what each installed package needs of the others, and which every Debian has."""
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", FORMAT], check=True, capture_output=True, text=True
    )
    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    rows = [row for row in rows if row[2] == "installed"]
    provided = {one: row[0] for row in rows for one in _names(row[4], ",")}
    provided |= {row[0]: row[0] for row in rows}  # its own name comes first
    needs = {
        row[0]: [
            next((provided[one] for one in _names(need, "|") if one in provided), row[0])
            for need in row[3].split(",")
        ]
        for row in rows
    }
    return needs, [row[0] for row in rows if BASE & {*row[1].split()}]


def _names(text: str, between: str) -> list[str]:
    """Give the packages' names of a relation, without versions and architectures."""
    parts = (part.partition("(")[0].partition(":")[0].strip() for part in text.split(between))
    return [part for part in parts if part]
