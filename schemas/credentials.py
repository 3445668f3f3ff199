"""Keys of a provider, as a `[[providers]]` table names them: where they are, never the keys."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import (
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from schemas.tables import Table

__all__ = ["KeyPlace", "KeyedTable", "Name"]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
#: More keys than this are no key ring but a mistake.
MOST_KEYS = 16


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where one key is: in a variable, whose value it then is, or in a file."""

    #: Variable or file, as the configuration names it.
    label: str
    value: SecretStr | None = None
    file: str = ""

    @property
    def is_set(self) -> bool:
        """Whether there is a value, or a file that should have one."""
        return bool(self.value or self.file)


class KeyedTable(Table):
    """A provider's name and kind, and who we are to it."""

    name: Name
    """What attempts, results and routes call it."""
    kind: Literal["openai", "azure", "openai-compatible"]
    """How it is spoken to."""
    key_variable: str = ""
    """Environment variable that holds its key, or, with `_FILE` behind its name, names the file;
    none for a server that wants none."""
    key_file: str = ""
    """File that holds its key and nothing else, in place of a variable; read again when it
    changes."""
    key_variables: tuple[str, ...] = ()
    """Several such variables: calls take turns, a key that is refused or throttled rests."""
    key_files: tuple[str, ...] = ()
    """Several such files, alone or beside variables."""
    auth: Literal["key", "entra", "command"] = "key"
    """In place of keys: tokens of Microsoft Entra ID (kind azure; extra `entra`), or those that
    token_command prints."""
    entra_scope: str = "https://cognitiveservices.azure.com/.default"
    """What tokens of Entra ID are asked for; a resource that wants another audience says so in its
    401, such as https://ai.azure.com/.default."""
    token_command: str = ""
    """Command that prints one token; run without a shell, within 10 s."""
    token_seconds: float = Field(default=300.0, ge=1, le=86_400)
    """Seconds after which it is run again; after a 401 it is at once."""
    client_certificate: str = ""
    """File with the certificate (PEM) that is shown to its server; read again when it changes."""
    client_key: str = ""
    """File with that certificate's key (PEM, not encrypted); none where it is in the same file."""

    @field_validator("key_files", "key_variables")
    @classmethod
    def _few(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse a key named twice, and more keys than anybody has."""
        if len(value) > MOST_KEYS or len(set(value)) < len(value) or "" in value:
            message = f"must be at most {MOST_KEYS} names, each of them once"
            raise ValueError(message)
        return value

    @property
    def variables(self) -> tuple[str, ...]:
        """All variables that hold keys of it."""
        return tuple(dict.fromkeys(one for one in (self.key_variable, *self.key_variables) if one))

    @property
    def files(self) -> tuple[str, ...]:
        """All files that hold keys of it."""
        return tuple(dict.fromkeys(one for one in (self.key_file, *self.key_files) if one))

    @property
    def wants_key(self) -> bool:
        """Whether a key was asked for, wherever it is."""
        return self.auth == "key" and bool(self.variables or self.files)

    @model_validator(mode="after")
    def _one_way(self) -> "KeyedTable":
        """Refuse ways to prove who one is that do not fit each other."""
        problem = ""
        if not all(VARIABLE.fullmatch(one) for one in self.variables):
            problem = "key_variable is the name of an environment variable, never the key itself"
        elif self.auth != "key" and (self.variables or self.files):
            problem = f'auth = "{self.auth}" takes no keys: leave one of the two out'
        elif self.auth == "entra" and self.kind != "azure":
            problem = 'auth = "entra" is for kind azure'
        elif (self.auth == "command") != bool(self.token_command):
            problem = 'auth = "command" and token_command go together'
        elif self.client_key and not self.client_certificate:
            problem = "client_key is set: client_certificate is needed too"
        if problem:
            message = f"provider {self.name}: {problem}"
            raise ValueError(message)
        return self
