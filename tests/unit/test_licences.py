"""What the image's lock names may be used and passed on together with this product's licence."""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements/image.lock").read_text()
NAMES = re.findall(r"(?m)^([A-Za-z0-9._-]+)==", LOCK)
#: Permissive, or (MPL 2.0) binding changed files of the package only.
FINE = re.compile(
    r"MIT(-0| License)?|(Apache Software License|Apache-2\.0)|(3-Clause )?BSD( License|-[23]-Clause)"
    r"|ISC License \(ISCL\)|PSF-2\.0|Python Software Foundation License|Repoze Public License"
    r"|Mozilla Public License 2\.0 \(MPL 2\.0\)"
)
#: For other systems only, so never installed here: tzdata is Apache-2.0, the others are BSD.
ELSEWHERE = {"colorama", "httpx2-jsfetch", "tzdata"}


def _licences(name: str) -> list[str]:
    found = metadata(name)
    if expression := found.get("License-Expression"):
        return re.split(r" (?:AND|OR) ", expression)
    classifiers = found.get_all("Classifier") or []
    said = [one.split(" :: ")[-1] for one in classifiers if one.startswith("License")]
    return said or [found.get("License") or "unknown"]


@pytest.mark.parametrize("name", NAMES)
def test_a_dependency_may_be_passed_on_with_this_product(name: str) -> None:
    try:
        licences = _licences(name)
    except PackageNotFoundError:
        assert name in ELSEWHERE
        return
    assert [one for one in licences if not FINE.fullmatch(one)] == []


def test_the_licence_is_there_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n" in text
    assert "END OF TERMS AND CONDITIONS" in text
