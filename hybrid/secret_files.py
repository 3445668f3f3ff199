"""Secrets in files: `NAME_FILE` names the file that holds what `NAME` would hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from agents.credentials.sources import SecretError, text_of_file
from hybrid.errors import UsageError
from schemas.settings import Settings

__all__ = ["SECRETS", "found_files", "read_at_start"]

#: Settings that are secrets.
SECRETS = tuple(
    name for name, field in Settings.model_fields.items() if field.annotation == SecretStr | None
)
#: Those that are read where they are used, again when their file changes: keys of providers.
WATCHED = ("openai_api_key", "azure_openai_api_key")


def found_files(
    environment: Mapping[str, str], document: dict[str, Any], variables: tuple[str, ...]
) -> dict[str, str]:
    """Give the file of each secret that is in one, by the variable that would hold the secret.

    `document` is hybrid.toml, from which these entries are taken out; where the environment names
    a secret in either way, its entry there has no say. `variables` hold keys of providers. Raises
    UsageError where both ways are used at once.
    """
    files: dict[str, str] = {}
    for name in (*(one.upper() for one in SECRETS), *variables):
        given, file = environment.get(name, ""), environment.get(f"{name}_FILE", "")
        below = document.pop(f"{name.lower()}_file", "")
        if given and file:
            message = f"{name} and {name}_FILE are both set: leave one of them out"
            raise UsageError(message)
        if given:
            continue
        if file:
            document.pop(name.lower(), None)
        elif below and document.get(name.lower()):
            message = f"{name.lower()} and {name.lower()}_file are both set: leave one of them out"
            raise UsageError(message)
        if file or below:
            files[name] = str(file or below)
    return files


def read_at_start(files: Mapping[str, str]) -> dict[str, str]:
    """Read the secrets that are used as they were at start; raises UsageError for a bad file."""
    found = {}
    for name in (one for one in SECRETS if one not in WATCHED):
        if name.upper() in files:
            path = files[name.upper()]
            try:
                found[name] = text_of_file(Path(path), f"{name.upper()}_FILE = {path}")
            except SecretError as error:
                raise UsageError(str(error)) from None
    return found
