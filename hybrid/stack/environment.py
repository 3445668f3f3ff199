"""Variables for the stack's processes: the caller's settings, with the stack's addresses."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hybrid.config import address_of
from hybrid.text import shown_address
from schemas.providers import ProviderSpec
from schemas.settings import Settings

__all__ = ["CONSOLE_LINK", "StackOptions", "callers_environment", "stack_environment", "where_of"]

#: Settings of other people's clusters have no say on the stack's own.
OTHERS = ("KAFKA_", "CLICKHOUSE_")


#: The file, in a stack's folder, with the link that makes its reader an operator of the console.
CONSOLE_LINK = "console-link"


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What `hybrid up` and the tests ask for."""

    workers: int = 1
    brokers: int = 1
    data_dir: Path | None = None
    ready_file: Path | None = None
    kafka_port: int | None = None
    clickhouse_port: int | None = None
    simulator_port: int | None = None
    metrics_port: int | None = None
    seed: int = 0
    #: Whether people use it: commands in other terminals find it without configuration, and the
    #: operator's pages are served, unless HYBRID_CONSOLE_PORT is 0.
    announced: bool = False
    #: Whether a provider whose key is set is the real one (it costs money).
    real_providers: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


def callers_environment() -> dict[str, str]:
    """Give the caller's environment without addresses of other clusters."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}


def stack_environment(
    options: StackOptions, *, kafka: str, clickhouse: str, simulator: str
) -> dict[str, str]:
    """Give the variables that make a process use the stack."""
    # Children inherit the caller's variables; an empty one counts as not set.
    silenced = {name: "" for name in os.environ if name.startswith(OTHERS)}
    environment = silenced | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "CLICKHOUSE_URL": clickhouse,
        "HYBRID_REPLICATION_FACTOR": str(options.brokers),
        "HYBRID_LOG_FORMAT": "json",
    }
    if not options.real_providers:
        environment["HYBRID_SIMULATOR"] = simulator
    real = options.real_providers
    if not (real and _is_given("OPENAI_API_KEY")):
        environment |= _simulated("OPENAI_API_KEY") | {"OPENAI_BASE_URL": f"{simulator}/v1"}
    entra = os.environ.get("HYBRID_AZURE_AUTH") == "entra"
    if not (real and (_is_given("AZURE_OPENAI_API_KEY") or entra)):
        environment |= _simulated("AZURE_OPENAI_API_KEY") | {"AZURE_OPENAI_ENDPOINT": simulator}
    return {**environment, **options.environment}


def _is_given(variable: str) -> bool:
    """Say whether a key is there, in its variable or in a file."""
    return bool(os.environ.get(variable) or os.environ.get(f"{variable}_FILE"))


def _simulated(variable: str) -> dict[str, str]:
    """Give a key that is none; a file that names one has no say then."""
    return {variable: "simulated", f"{variable}_FILE": ""}


def where_of(settings: Settings, spec: ProviderSpec, *, simulator: str) -> str:
    """Say where a provider's calls go, and whether they cost money."""
    address = address_of(spec)
    if settings.hybrid_simulator or address.startswith(simulator):
        return "simulated: costs nothing"
    lacking = settings.lacks_key(spec)
    if lacking:
        return f"not called: {lacking} is not set"
    return f"REAL, calls cost money: {shown_address(address)}"
