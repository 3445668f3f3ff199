"""From the settings to the providers that a worker calls."""

import ssl
from decimal import Decimal
from urllib.parse import urlsplit

from agents.clock import Clock
from agents.credentials.credentials import Credentials
from agents.credentials.entra import Entra
from agents.credentials.sources import SENDABLE, Command, Fixed, KeyFile, SecretError, Source
from agents.credentials.tls import Certificate, TlsFiles, tls_context
from agents.log import Log, silent
from agents.providers.adapters import Common, Link, Provider, Transport
from agents.providers.building import azure_provider, openai_provider
from agents.providers.presets import dialect_of
from hybrid.config import can_be_called
from hybrid.errors import UsageError
from schemas.providers import ProviderSpec
from schemas.settings import Settings

__all__ = ["build_providers", "credentials_of", "require_keys", "tls_of"]


def build_providers(settings: Settings, clock: Clock, log: Log = silent) -> dict[str, Provider]:
    """Build every provider whose key is set.

    Raises UsageError when there is none, or when one that hybrid.toml names lacks its key.
    """
    _require_provider(settings)
    return {
        spec.name: _provider(settings, spec, clock, log)
        for spec in settings.provider_specs
        if can_be_called(settings, spec)
    }


def _require_provider(settings: Settings) -> None:
    """Refuse to run where no provider can be called, or one lacks its key; raises UsageError."""
    require_keys(settings)
    if not any(can_be_called(settings, spec) for spec in settings.provider_specs):
        message = (
            "no provider is configured: set OPENAI_API_KEY, or AZURE_OPENAI_API_KEY with "
            "AZURE_OPENAI_ENDPOINT, or HYBRID_SIMULATOR to a simulator's address"
        )
        raise UsageError(message)


def require_keys(settings: Settings) -> None:
    """Refuse to run when a provider that was asked for has no key; raises UsageError.

    Commands that call no provider run without keys.
    """
    if settings.hybrid_simulator:
        return
    for spec in settings.provider_specs:
        for place in settings.key_places(spec):
            value = place.value.get_secret_value() if place.value else ""
            if value and not SENDABLE.fullmatch(value):
                message = (
                    f"{place.label} = (not shown): a key is printable ASCII without spaces; see "
                    "whether a line break is at its end"
                )
                raise UsageError(message)
    for spec in settings.providers:
        lacking = settings.lacks_key(spec)
        if lacking:
            message = (
                f"provider {spec.name}: its key variable {lacking} is not set in the environment"
            )
            raise UsageError(message)
    if settings.providers or settings.azure_openai_endpoint:
        return
    files = settings.secret_files
    if settings.azure_openai_api_key or "AZURE_OPENAI_API_KEY" in files:
        message = "AZURE_OPENAI_API_KEY is set: AZURE_OPENAI_ENDPOINT is needed too"
        raise UsageError(message)
    if settings.hybrid_azure_auth == "entra":
        message = "HYBRID_AZURE_AUTH = entra: AZURE_OPENAI_ENDPOINT is needed too"
        raise UsageError(message)


def tls_of(settings: Settings, spec: ProviderSpec) -> ssl.SSLContext | None:
    """Give whom TLS believes at a provider and what it shows; None = as usual; raises UsageError.

    A simulator is spoken to without.
    """
    files = _tls_files(spec)
    if settings.hybrid_simulator or not (files.ca_file or files.certificate):
        return None
    try:
        return tls_context(files)
    except SecretError as error:
        message = f"provider {spec.name}: {error}"
        raise UsageError(message) from None


def credentials_of(
    settings: Settings,
    spec: ProviderSpec,
    *,
    clock: Clock,
    log: Log = silent,
    tls: ssl.SSLContext | None = None,
) -> Credentials:
    """Give who looks after a provider's keys, and its certificate in `tls`; raises UsageError.

    Files are read, a token is asked for with the first call.
    """
    try:
        beside = [Certificate(tls, _tls_files(spec))] if tls and spec.client_certificate else []
        sources = _sources(settings, spec, clock)
        own = {name.lower() for name in spec.headers}
        bare = spec.kind == "azure" and spec.auth == "key"
        header = "api-key" if bare else "Authorization"
        found = Credentials(
            sources,
            provider=spec.name,
            clock=clock,
            header="" if header.lower() in own else header,
            log=log,
            suspend_s=settings.hybrid_breaker_open,
            beside=beside,
        )
        found.prime(keys=spec.auth == "key")
    except SecretError as error:
        message = f"provider {spec.name}: {error}"
        raise UsageError(message) from None
    return found


def _sources(settings: Settings, spec: ProviderSpec, clock: Clock) -> list[Source]:
    """Give where a provider's keys or tokens come from; raises SecretError."""
    if settings.hybrid_simulator:
        return [Fixed("simulator", "simulated")]
    match spec.auth:
        case "entra":
            return [Entra(spec.entra_scope, clock=clock)]
        case "command":
            return [Command(spec.token_command, label="token_command", lasts_s=spec.token_seconds)]
        case "key":
            found: list[Source] = [
                KeyFile(place.file, said=_said(place.label, place.file))
                if place.file
                else Fixed(place.label, place.value.get_secret_value() if place.value else "")
                for place in settings.key_places(spec)
            ]
            return found or [Fixed("no key", "none")]


def _said(label: str, file: str) -> str:
    """Give how a key's file is called in the configuration."""
    return f"key file {file}" if label == file else f"{label}_FILE = {file}"


def _tls_files(spec: ProviderSpec) -> TlsFiles:
    return TlsFiles(spec.ca_file, spec.client_certificate, spec.client_key)


def _provider(settings: Settings, spec: ProviderSpec, clock: Clock, log: Log) -> Provider:
    endpoint, base_url = spec.endpoint or "", spec.base_url
    if settings.hybrid_simulator:
        endpoint = settings.hybrid_simulator
        base_url = f"{settings.hybrid_simulator}/v1"
    tls = tls_of(settings, spec)
    common = Common(
        api_key=credentials_of(settings, spec, clock=clock, log=log, tls=tls),
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
        api=spec.api,
        embedding_model=spec.embedding_model,
        background=spec.background,
        idempotency_header=spec.idempotency_header,
        link=_link(settings, spec, tls),
    )
    if spec.batch:
        common["batch_price"] = Decimal(str(spec.batch_price))
    if spec.kind == "azure":
        return azure_provider(
            spec.name,
            endpoint=endpoint,
            api_version=spec.api_version,
            deployment=spec.deployment,
            **common,
        )
    return openai_provider(spec.name, base_url=base_url, model=spec.model, **common)


def _link(settings: Settings, spec: ProviderSpec, tls: ssl.SSLContext | None) -> Link:
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
        tls=tls,
        proxy=spec.proxy,
    )
