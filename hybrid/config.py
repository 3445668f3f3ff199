"""Reads the configuration: the environment wins over `hybrid.toml`, that over defaults."""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from hybrid.announced import running_stack
from hybrid.consistency import check_together
from hybrid.errors import UsageError
from hybrid.secret_files import SECRETS, found_files, read_at_start
from schemas.providers import ProviderSpec
from schemas.settings import Settings
from streams.store.address import database_of

__all__ = [
    "FOUND",
    "TABLES",
    "address_of",
    "can_be_called",
    "client_settings",
    "load_settings",
    "need_clickhouse",
    "need_kafka",
    "sources_of",
]

SECRET_WORDS = ("key", "password", "url", "secret", "webhook", "console_token")
NOT_SECRET = ("openai_base_url",)
#: A user, or a user and a password, before the host of an address; as much as it may be.
LOGIN = re.compile(r".*@", re.DOTALL)
#: Settings that are tables of hybrid.toml, never variables.
TABLES = (
    "providers",
    "models",
    "routes",
    "prices",
    "budgets",
    "time_limits",
    "protect",
    "alerts",
    "tenant_weights",
    "policy",
)
#: Settings that are found, not set: what variables hold that tables name, and the files of secrets.
FOUND = ("provider_keys", "secret_files")
#: Those of the tables that are one table, not a list of tables.
PLAIN_TABLES = ("alerts", "tenant_weights", "policy")


def load_settings(
    *, environment: Mapping[str, str] | None = None, file: Path | None = None, **overrides: object
) -> Settings:
    """Read and check everything; raises UsageError with name, value and what is allowed."""
    values: dict[str, Any] = {}
    source = os.environ if environment is None else environment
    named = source.get("HYBRID_CONFIG")
    file = file or Path(named or "hybrid.toml")
    if named and not file.is_file():
        message = f"HYBRID_CONFIG = {named}: there is no such file"
        raise UsageError(message)
    if file.exists():
        values.update(_read_file(file))
    variables = _key_variables(values)
    files = found_files(source, values, variables)
    for name in set(Settings.model_fields) - {*TABLES, *FOUND}:
        if source.get(name.upper(), "") != "":
            values[name] = _text(name.upper(), source[name.upper()])
    values["provider_keys"] = {
        name: _text(name, source[name]) for name in variables if source.get(name)
    }
    values.update(read_at_start(files), secret_files=files)
    values.update(overrides)
    try:
        settings = Settings.model_validate(values)
        if settings.clickhouse_url is not None:
            database_of(settings.clickhouse_url.get_secret_value())
    except ValidationError as error:
        raise UsageError(_sentence(error, values)) from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    check_together(settings)
    return settings


#: What a client of ours is told, by these names or by variables of the same name.
CLIENT_SETTINGS = (
    *(name for name in Settings.model_fields if name.startswith("kafka_")),
    "hybrid_topic_prefix",
    "hybrid_max_intent_bytes",
    "hybrid_unknown_fields",
    "hybrid_deduplication_window",
)


def client_settings(given: Mapping[str, object]) -> Settings:
    """Read what a client in somebody's own program needs; `given` wins over the environment.

    Variables that are another process's matter have no say here. Raises UsageError.
    """
    unknown = sorted(set(given) - set(CLIENT_SETTINGS))
    if unknown:
        message = f"no setting of a client: {unknown[0]}; there are: {', '.join(CLIENT_SETTINGS)}"
        raise UsageError(message)
    read = {one.upper() for one in CLIENT_SETTINGS}
    read |= {"HYBRID_CONFIG", *(f"{one}_FILE" for one in read)}
    environment = {name: os.environ[name] for name in read if name in os.environ}
    for name in given:  # a file of a secret that is given has no say
        environment.pop(f"{name.upper()}_FILE", None)
    chosen: dict[str, Any] = {name: one for name, one in given.items() if one is not None}
    return need_kafka(load_settings(environment=environment, **chosen))


def sources_of(names: Iterable[str]) -> dict[str, str]:
    """Say where settings that are not their defaults have come from; the file is read once."""
    file = Path(os.environ.get("HYBRID_CONFIG") or "hybrid.toml")
    written = set(_read_file(file)) if file.exists() else set()
    return {name: _source_of(name, file, written) for name in names}


def _source_of(name: str, file: Path, written: set[str]) -> str:
    variable = name.upper()
    if os.environ.get(variable):
        return "the environment"
    if os.environ.get(f"{variable}_FILE"):
        return f"the file that {variable}_FILE names"
    if {name, f"{name}_file"} & written:
        return str(file)
    return "the local stack"


def _key_variables(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the variables that hold keys of providers, as far as the tables can be read."""
    tables = [one for one in values.get("providers") or () if isinstance(one, dict)]
    named: list[object] = [one.get("key_variable") for one in tables]
    for table in tables:
        several = table.get("key_variables")
        named += several if isinstance(several, list) else []
    built_in = {name.upper() for name in SECRETS}
    return tuple(
        dict.fromkeys(one for one in named if isinstance(one, str) and one and one not in built_in)
    )


def _text(name: str, value: str) -> str:
    """Refuse a variable whose bytes are no text; raises UsageError."""
    try:
        value.encode()
    except UnicodeEncodeError:
        message = f"{name} is not UTF-8"
        raise UsageError(message) from None
    return value


def can_be_called(settings: Settings, spec: ProviderSpec) -> bool:
    """Say whether a worker calls a provider: the simulator plays it, or nothing it needs lacks."""
    if settings.hybrid_simulator:
        return True
    if spec.kind == "azure" and not spec.endpoint:
        return False
    return not settings.lacks_key(spec)


def address_of(spec: ProviderSpec) -> str:
    """Give the address of a provider's own server; without one it is OpenAI's."""
    return spec.endpoint or spec.base_url or "https://api.openai.com/v1"


def need_kafka(settings: Settings) -> Settings:
    """Fill in the running local stack where no broker is configured; raises UsageError."""
    if settings.kafka_bootstrap_servers:
        return settings
    stack = running_stack()
    if stack is None:
        message = (
            "no Kafka to talk to: set KAFKA_BOOTSTRAP_SERVERS, or start the local stack with "
            "`hybrid up` in another terminal"
        )
        raise UsageError(message)
    changes: dict[str, object] = {"kafka_bootstrap_servers": stack["kafka"]}
    if settings.clickhouse_url is None:
        changes["clickhouse_url"] = SecretStr(str(stack["clickhouse"]))
    return settings.model_copy(update=changes)


def need_clickhouse(settings: Settings) -> Settings:
    """Fill in the running local stack where no ClickHouse is configured; raises UsageError."""
    if settings.clickhouse_url is not None:
        return settings
    stack = running_stack()
    if stack is None:
        message = (
            "no ClickHouse to talk to: set CLICKHOUSE_URL, or start the local stack with "
            "`hybrid up` in another terminal"
        )
        raise UsageError(message)
    return settings.model_copy(update={"clickhouse_url": SecretStr(str(stack["clickhouse"]))})


def _read_file(file: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        message = f"{file} cannot be read: {error}"
        raise UsageError(message) from None
    known = (set(Settings.model_fields) - {*FOUND}) | {f"{name}_file" for name in SECRETS}
    unknown = sorted(set(document) - known)
    if unknown:
        message = f"{file} has names that are not settings: {', '.join(unknown)}"
        raise UsageError(message)
    return {
        name: ",".join(map(str, value)) if isinstance(value, list) and name not in TABLES else value
        for name, value in document.items()
    }


def _sentence(error: ValidationError, values: Mapping[str, Any]) -> str:
    problems = []
    for item in error.errors(include_url=False):
        name = str(item["loc"][0])
        if name in TABLES:
            problems.append(_table_problem(item))
            continue
        shown = repr(_without_login(values.get(name)))
        if any(word in name for word in SECRET_WORDS) and name not in NOT_SECRET:
            shown = "(not shown)"
        reason = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
        problems.append(f"{name.upper()} = {shown}: {reason}")
    return "; ".join(problems)


def _without_login(value: object) -> object:
    """Take the part of an address away in which people write passwords, where a text has one."""
    return LOGIN.sub("…@", value) if isinstance(value, str) else value


def _table_problem(item: ErrorDetails) -> str:
    """Say what is wrong in a table of hybrid.toml, by its number and field."""
    name, *where = item["loc"]
    place = f"[{name}]" if name in PLAIN_TABLES else f"[[{name}]]"
    if where and isinstance(where[0], int):
        place += f" number {where[0] + 1}"
        where = where[1:]
    field = ".".join(str(part) for part in where)
    reason = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{place}{', ' if field else ''}{field}: {reason}"
