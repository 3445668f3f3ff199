"""Reads the configuration: the environment wins over `hybrid.toml`, that over defaults."""

import os
import re
import ssl
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from agents.deciding.overrides import overrides_of
from hybrid.announced import running_stack
from hybrid.errors import UsageError
from schemas.providers import ProviderSpec
from schemas.settings import Settings
from streams.kafka.security import SecurityError, check_security
from streams.store.clickhouse import database_of

__all__ = [
    "TABLES",
    "address_of",
    "can_be_called",
    "load_settings",
    "need_clickhouse",
    "need_kafka",
]

SECRET_WORDS = ("key", "password", "url", "secret", "webhook")
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
    "alerts",
    "tenant_weights",
    "policy",
)
#: Those of them that are one table, not a list of tables.
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
    for name in set(Settings.model_fields) - {*TABLES, "provider_keys"}:
        if source.get(name.upper(), "") != "":
            values[name] = _text(name.upper(), source[name.upper()])
    values["provider_keys"] = {
        name: _text(name, source[name])
        for table in values.get("providers") or ()
        if isinstance(table, dict) and source.get(name := str(table.get("key_variable")))
    }
    values.update(overrides)
    try:
        settings = Settings.model_validate(values)
        if settings.clickhouse_url is not None:
            database_of(settings.clickhouse_url.get_secret_value())
    except ValidationError as error:
        raise UsageError(_sentence(error, values)) from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    _check_together(settings)
    return settings


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
    return not spec.key_variable or settings.key_of(spec) is not None


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
    unknown = sorted(set(document) - set(Settings.model_fields) | {"provider_keys"} & set(document))
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


def _check_providers(settings: Settings) -> None:
    """Refuse providers and routes that do not fit each other."""
    names = [spec.name for spec in settings.providers]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        message = f"[[providers]]: the name {doubled[0]} is used twice"
        raise UsageError(message)
    known = {spec.name for spec in settings.provider_specs}
    for route in settings.routes:
        unknown = sorted(set(route.providers) - known)
        if unknown:
            message = (
                f"[[routes]]: {unknown[0]} is not a provider; there are: {', '.join(sorted(known))}"
            )
            raise UsageError(message)


def _check_models(settings: Settings) -> None:
    """Refuse groups of models that name no provider, or one model in two ways."""
    known = {spec.name: spec for spec in settings.provider_specs}
    bases = {name: settings.bases_at(spec) for name, spec in known.items()}
    seen = set[str]()
    for group in settings.models:
        if group.name in seen:
            message = f"[[models]]: the name {group.name} is used twice"
            raise UsageError(message)
        seen.add(group.name)
        for provider, place in group.at.items():
            if provider not in known:
                message = (
                    f"[[models]]: {group.name} is at {provider}, which is not a provider; there "
                    f"are: {', '.join(sorted(known))}"
                )
                raise UsageError(message)
            base, spec = group.base_at(provider), known[provider]
            own = spec.base_model if place.model == (spec.deployment or spec.model) else ""
            said = {bases[provider].get(place.model, ""), base, own} - {""}
            if len(said) > 1:
                message = (
                    f"[[models]]: {place.model} at {provider} has two base models, "
                    f"{' and '.join(sorted(said))}: it can be one only"
                )
                raise UsageError(message)


def _check_policy(settings: Settings) -> None:
    """Refuse lines of the policy that name no provider or no failure."""
    try:
        overrides_of(settings)
    except ValueError as error:
        message = f"[policy]: {error}"
        raise UsageError(message) from None


def _check_authorities(settings: Settings) -> None:
    """Refuse a CLICKHOUSE_CA_FILE that nothing reads, or that holds no certificates."""
    file, url = settings.clickhouse_ca_file, settings.clickhouse_url
    if not file:
        return
    if url is not None and not url.get_secret_value().startswith("https:"):
        message = "CLICKHOUSE_CA_FILE is set: CLICKHOUSE_URL must begin with https://"
        raise UsageError(message)
    try:
        ssl.create_default_context(cafile=file)
    except (ssl.SSLError, OSError):
        message = f"CLICKHOUSE_CA_FILE = {file}: must hold PEM certificates"
        raise UsageError(message) from None


def _check_together(settings: Settings) -> None:
    """Refuse settings that do not fit each other."""
    _check_providers(settings)
    _check_models(settings)
    _check_policy(settings)
    if settings.hybrid_alert_secret and not settings.hybrid_alert_webhook:
        message = "HYBRID_ALERT_SECRET is set: HYBRID_ALERT_WEBHOOK is needed too"
        raise UsageError(message)
    for name in (
        "kafka_ssl_cafile",
        "kafka_ssl_certfile",
        "kafka_ssl_keyfile",
        "clickhouse_ca_file",
    ):
        path = getattr(settings, name)
        if path and not Path(path).is_file():
            message = f"{name.upper()} = {path}: there is no such file"
            raise UsageError(message)
    _check_authorities(settings)
    try:
        check_security(settings)
    except SecurityError as error:
        raise UsageError(str(error)) from None
    if settings.hybrid_prompts_dir and not Path(settings.hybrid_prompts_dir).is_dir():
        message = f"HYBRID_PROMPTS_DIR = {settings.hybrid_prompts_dir}: there is no such folder"
        raise UsageError(message)
