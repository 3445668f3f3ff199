"""Tenants' keys to content at rest, as their files say them; pure."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["KeyFileError", "KeyRing"]

#: The file whose keys serve tenants without one.
DEFAULT_FILE = "default"
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
KEY_BYTES = 32


class KeyFileError(ValueError):
    """Raised when a key file is not what it should be: one sentence, without anything secret."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The tenants' keys: which is written with, and all that are read."""

    #: Tenant → the id of the key that is written with.
    writing: Mapping[str, str]
    keys: Mapping[str, bytes]

    @classmethod
    def of(cls, files: Mapping[str, str]) -> "KeyRing":
        """Read the texts of key files, by their tenants; raises KeyFileError.

        A line is an id and 32 bytes in base64. The first of a file is written with.
        """
        writing: dict[str, str] = {}
        keys: dict[str, bytes] = {}
        for tenant, text in files.items():
            lines = [line.split() for line in text.splitlines()]
            for number, words in enumerate(lines, 1):
                if not words or words[0].startswith("#"):
                    continue
                key_id, key = _key_in(words, f"key file {tenant}, line {number}")
                if key_id in keys:
                    message = f"key file {tenant}, line {number}: key id {key_id} is there twice"
                    raise KeyFileError(message)
                keys[key_id] = key
                writing.setdefault(tenant, key_id)
            if tenant not in writing:
                message = f"key file {tenant} has no key: write a line `KEYID base64-of-32-bytes`"
                raise KeyFileError(message)
        if DEFAULT_FILE not in writing:
            message = f"there is no key file {DEFAULT_FILE}: it serves tenants without their own"
            raise KeyFileError(message)
        return cls(writing, keys)

    def written_with(self, tenant: str) -> str:
        """Name the key for a tenant's new content."""
        return self.writing.get(tenant, self.writing[DEFAULT_FILE])


def _key_in(words: list[str], where: str) -> tuple[str, bytes]:
    try:
        key_id, text = words
        key = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        message = f"{where}: must be `KEYID base64-of-32-bytes`"
        raise KeyFileError(message) from None
    if len(key) != KEY_BYTES or KEY_ID.fullmatch(key_id) is None:
        message = f"{where}: must be an id of letters, digits, . _ - and 32 bytes in base64"
        raise KeyFileError(message)
    return key_id, key
