"""The AsyncAPI document against the official JSON Schema of 3.1, of npm's @asyncapi/specs.

`make asyncapi`; not part of `make test`, for it needs Node and its registry. The package is fetched
by its version and compared with the hash here; nothing of it is run or kept.
"""

import base64
import hashlib
import json
import subprocess
import tarfile
from pathlib import Path

import jsonschema

from schemas.export import asyncapi
from schemas.settings import Settings

PACKAGE = "@asyncapi/specs@6.11.1"
SHA512 = "A3WBLqAKGoJ2+6FWFtpjBlCQ1oFCcs4GxF7zsIGvNqp/klGUHjlA3aAcZ9XMMpLGE8zPeYDz2x9FmO6DSuKraQ=="
ROOT = Path(__file__).resolve().parents[2]


def test_the_document_is_valid_by_the_official_schema(tmp_path: Path) -> None:
    packed = subprocess.run(
        ["npm", "pack", PACKAGE, "--silent", "--ignore-scripts"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    archive = tmp_path / packed.stdout.strip()
    digest = hashlib.sha512(archive.read_bytes()).digest()
    assert base64.b64encode(digest).decode() == SHA512
    with tarfile.open(archive) as found:
        member = found.extractfile("package/schemas/3.1.0-without-$id.json")
        assert member is not None
        schema = json.load(member)
    validator = jsonschema.Draft7Validator(schema)
    document = asyncapi(Settings().topics)
    assert document == json.loads((ROOT / "docs/schemas/asyncapi.json").read_text())
    assert [error.message for error in validator.iter_errors(document)] == []
    assert list(validator.iter_errors(document | {"operations": {"x": {"action": "nonsense"}}}))
