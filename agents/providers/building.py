"""Providers built: one SDK client each, with its address, its key, and the way there."""

import re
import ssl
from functools import cache
from typing import Any, Unpack

from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAioHttpClient

from agents.providers.adapters import Common, Link, SdkProvider
from agents.providers.wire import Wire

__all__ = ["azure_provider", "openai_provider", "resource_of"]

#: What `api_version` says for Azure's v1 API.
UNDATED = frozenset({"", "v1"})


def openai_provider(
    name: str, *, base_url: str | None, model: str, **common: Unpack[Common]
) -> SdkProvider:
    """Build a provider that speaks as OpenAI does; without `base_url` the SDK's own default."""
    client = AsyncOpenAI(base_url=base_url, **_client_options(common))
    _introduce(client, common)
    return SdkProvider(name, Wire(client), kind="openai", model=model, common=common)


def azure_provider(
    name: str, *, endpoint: str, api_version: str, deployment: str, **common: Unpack[Common]
) -> SdkProvider:
    """Build a provider on Azure; the deployment's name stands in for the model's.

    Without `api_version`, or with `v1`, it is asked by Azure's v1 API, which has no versions;
    `endpoint` is the resource's, with or without the path of either API.
    """
    resource, options = resource_of(endpoint), _client_options(common)
    dated = api_version not in UNDATED
    client: AsyncAzureOpenAI
    if dated:
        client = AsyncAzureOpenAI(azure_endpoint=resource, api_version=api_version, **options)
    else:
        client = _AzureV1(base_url=f"{resource}/openai/v1", api_version="v1", **options)
    _introduce(client, common)
    wire = Wire(client, deployments=dated)
    return SdkProvider(
        name, wire, kind="azure", model=deployment, deployment=deployment, common=common
    )


def resource_of(endpoint: str) -> str:
    """Give the address of an Azure resource, of any address that its pages show for it."""
    return re.sub(r"(/openai(/v1)?)?/*$", "", endpoint)


class _AzureV1(AsyncAzureOpenAI):
    """Azure's v1 API: keys and tokens as Azure has them, paths as OpenAI, and no version."""

    @property
    def default_query(self) -> dict[str, object]:
        """Leave out the version, which the SDK puts into every request to Azure."""
        return {}


def _client_options(common: Common) -> dict[str, Any]:
    """Give what both clients of the SDK are made with."""
    link = common.get("link", Link())
    return {
        "api_key": common["api_key"],
        "max_retries": 0,  # one owner of retries: the policy
        "timeout": None,  # one owner of the time limit: `SdkProvider.complete`
        "http_client": _shared_connections(common["concurrency"], link),
        "default_headers": dict(link.headers),
    }


def _introduce(client: AsyncOpenAI, common: Common) -> None:
    """Say for whom the calls are; the SDK would tell every vendor what OpenAI's variables say."""
    link = common.get("link", Link())
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
