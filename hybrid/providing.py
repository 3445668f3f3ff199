"""From the settings to the providers that a worker calls."""

import re
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from agents.clock import Clock
from agents.providers.adapters import Common, Link, Provider, Transport
from agents.providers.building import azure_provider, openai_provider
from agents.providers.presets import dialect_of
from hybrid.config import can_be_called
from hybrid.errors import UsageError
from schemas.providers import ProviderSpec
from schemas.settings import Settings

__all__ = ["build_providers", "require_keys"]

#: What a key may be made of: it goes into a header, and a client's own error for others is unclear.
SENDABLE = re.compile(r"[!-~]+")


def build_providers(settings: Settings, clock: Clock) -> dict[str, Provider]:
    """Build every provider whose key is set.

    Raises UsageError when there is none, or when one that hybrid.toml names lacks its key.
    """
    require_keys(settings)
    found = {
        spec.name: _provider(settings, spec, clock)
        for spec in settings.provider_specs
        if can_be_called(settings, spec)
    }
    if not found:
        message = (
            "no provider is configured: set OPENAI_API_KEY, or AZURE_OPENAI_API_KEY with "
            "AZURE_OPENAI_ENDPOINT"
        )
        raise UsageError(message)
    return found


def require_keys(settings: Settings) -> None:
    """Refuse to run when a provider that was asked for has no key; raises UsageError.

    Commands that call no provider run without keys.
    """
    if settings.hybrid_simulator:
        return
    for spec in settings.provider_specs:
        key = settings.key_of(spec)
        if key is not None and not SENDABLE.fullmatch(key.get_secret_value()):
            message = (
                f"{spec.key_variable} = (not shown): a key is printable ASCII without spaces; see "
                "whether a line break is at its end"
            )
            raise UsageError(message)
    for spec in settings.providers:
        if spec.key_variable and settings.key_of(spec) is None:
            message = (
                f"provider {spec.name}: its key variable {spec.key_variable} is not set in the "
                "environment"
            )
            raise UsageError(message)
    azure = settings.azure_openai_api_key and not settings.azure_openai_endpoint
    if azure and not settings.providers:
        message = "AZURE_OPENAI_API_KEY is set: AZURE_OPENAI_ENDPOINT is needed too"
        raise UsageError(message)


def _provider(settings: Settings, spec: ProviderSpec, clock: Clock) -> Provider:
    key = settings.key_of(spec)
    api_key = key.get_secret_value() if key else "none"
    endpoint, base_url = spec.endpoint or "", spec.base_url
    if settings.hybrid_simulator:
        api_key, endpoint = "simulated", settings.hybrid_simulator
        base_url = f"{settings.hybrid_simulator}/v1"
    if spec.ca_file and not Path(spec.ca_file).is_file():
        message = f"provider {spec.name}: there is no file ca_file = {spec.ca_file}"
        raise UsageError(message)
    common = Common(
        api_key=api_key,
        timeout_s=spec.timeout,
        concurrency=settings.hybrid_concurrency,
        clock=clock,
        transport=Transport(
            stream=spec.stream,
            first_token_s=spec.first_token_timeout,
            idle_s=spec.idle_timeout,
            low_tier=spec.low_tier,
            low_tier_price=Decimal(str(spec.low_tier_price)),
            time_lines=settings.time_limits,
            set_limits=spec.set_limits,
            bases=settings.bases_at(spec),
        ),
        dialect=dialect_of(spec),
        link=_link(settings, spec),
    )
    if spec.kind == "azure":
        return azure_provider(
            spec.name,
            endpoint=endpoint,
            api_version=spec.api_version,
            deployment=spec.deployment,
            **common,
        )
    return openai_provider(spec.name, base_url=base_url, model=spec.model, **common)


def _link(settings: Settings, spec: ProviderSpec) -> Link:
    """Give the way to a provider; a simulator is on this machine, and is told nobody's names."""
    if settings.hybrid_simulator:
        return Link(headers=spec.headers)
    host = urlsplit(spec.base_url or "").hostname
    own = spec.kind == "openai" and host in {None, "api.openai.com"}
    return Link(
        headers=spec.headers,
        organization=spec.organization,
        project=spec.project,
        from_environment=own and not (spec.organization or spec.project),
        ca_file=spec.ca_file,
        proxy=spec.proxy,
    )
