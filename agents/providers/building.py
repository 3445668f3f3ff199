"""Providers built: one SDK client each, with its address, its key, and the way there."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAioHttpClient

from agents.clock import Clock
from agents.providers.adapters import PLAIN, SdkProvider
from agents.providers.arguments import Dialect
from agents.providers.requests import STANDARD, Transport

__all__ = ["Link", "azure_provider", "openai_provider"]


@dataclass(frozen=True, slots=True)
class Link:
    """The way to a provider, and for whom its calls are."""

    headers: Mapping[str, str] = field(default_factory=dict)
    organization: str = ""
    project: str = ""
    #: Whether OPENAI_ORG_ID and OPENAI_PROJECT_ID are meant for it.
    from_environment: bool = False
    #: Certificates (PEM) that are believed; empty = the usual roots.
    ca_file: str = ""
    proxy: str | None = None


DIRECT = Link()


def openai_provider(
    name: str,
    *,
    api_key: str,
    base_url: str | None,
    model: str,
    timeout_s: float,
    concurrency: int,
    clock: Clock,
    transport: Transport = STANDARD,
    dialect: Dialect = PLAIN,
    link: Link = DIRECT,
) -> SdkProvider:
    """Build a provider that speaks as OpenAI does; without `base_url` the SDK's own default."""
    client = AsyncOpenAI(
        api_key=api_key,
        base_url=base_url,
        max_retries=0,
        timeout=None,  # one owner of the time limit: `SdkProvider.complete`
        http_client=_shared_connections(concurrency, link),
        default_headers=dict(link.headers),
    )
    _as(client, link)
    return SdkProvider(
        name,
        client,
        kind="openai",
        model=model,
        deployment="",
        timeout_s=timeout_s,
        clock=clock,
        transport=transport,
        dialect=dialect,
    )


def azure_provider(
    name: str,
    *,
    api_key: str,
    endpoint: str,
    api_version: str,
    deployment: str,
    timeout_s: float,
    concurrency: int,
    clock: Clock,
    transport: Transport = STANDARD,
    dialect: Dialect = PLAIN,
    link: Link = DIRECT,
) -> SdkProvider:
    """Build a provider on Azure; the deployment's name stands in for the model's."""
    client = AsyncAzureOpenAI(
        api_key=api_key,
        azure_endpoint=endpoint,
        api_version=api_version,
        max_retries=0,
        timeout=None,  # one owner of the time limit: `SdkProvider.complete`
        http_client=_shared_connections(concurrency, link),
        default_headers=dict(link.headers),
    )
    _as(client, link)
    return SdkProvider(
        name,
        client,
        kind="azure",
        model=deployment,
        deployment=deployment,
        timeout_s=timeout_s,
        clock=clock,
        transport=transport,
        dialect=dialect,
    )


def _as(client: AsyncOpenAI, link: Link) -> None:
    """Say for whom the calls are; the SDK would tell every vendor what OpenAI's variables say."""
    if not link.from_environment:
        client.organization, client.project = link.organization or None, link.project or None


def _shared_connections(concurrency: int, link: Link) -> Any:  # noqa: ANN401 - the SDK's own type
    """One connection pool per provider, kept alive and as wide as the worker's concurrency."""
    import httpx2  # noqa: PLC0415 - the SDK's HTTP library, named only here

    limits = httpx2.Limits(
        max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=60
    )
    return DefaultAioHttpClient(limits=limits, verify=_trust(link.ca_file), proxy=link.proxy)


@cache
def _trust(ca_file: str) -> ssl.SSLContext:
    """Whom TLS believes, read once: reading the roots takes longer than many a call."""
    import httpx2  # noqa: PLC0415 - as above

    if ca_file:
        return ssl.create_default_context(cafile=ca_file)
    context: ssl.SSLContext = httpx2.create_ssl_context()
    return context
