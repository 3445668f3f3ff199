"""Providers built: one SDK client each, with its address, its keys, and the way there."""

import re
import ssl
from functools import cache
from typing import Any, Unpack

from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAioHttpClient

from agents.credentials.credentials import Credentials
from agents.providers.adapters import Common, Link, SdkProvider
from agents.providers.background import BackgroundProvider
from agents.providers.batches import BatchProvider
from agents.providers.wire import Wire

__all__ = ["azure_provider", "openai_provider", "resource_of"]

#: What `api_version` says for Azure's v1 API.
UNDATED = frozenset({"", "v1"})

#: What the SDK's clients are made with in place of a key: each call brings its own.
NOT_A_KEY = "none"


def openai_provider(
    name: str, *, base_url: str | None, model: str, **common: Unpack[Common]
) -> SdkProvider:
    """Build a provider that speaks as OpenAI does; without `base_url` the SDK's own default."""
    client = AsyncOpenAI(api_key=NOT_A_KEY, base_url=base_url, **_client_options(common))
    _introduce(client, common)
    credentials = _credentials(name, common, header="Authorization")
    wire = Wire(client)
    return _class_of(common)(
        name, wire, kind="openai", model=model, credentials=credentials, common=common
    )


def azure_provider(
    name: str, *, endpoint: str, api_version: str, deployment: str, **common: Unpack[Common]
) -> SdkProvider:
    """Build a provider on Azure; the deployment's name stands in for the model's.

    Without `api_version`, or with `v1`, it is asked by Azure's v1 API, which has no versions;
    `endpoint` is the resource's, with or without the path of either API.
    """
    credentials = _credentials(name, common, header="api-key")
    # A client that has a key sends it beside a token: it is made with what the calls bring.
    bare = credentials.header == "api-key"
    resource, dated = resource_of(endpoint), api_version not in UNDATED
    options = {
        "api_version": api_version,
        "api_key": NOT_A_KEY if bare else None,
        "azure_ad_token": None if bare else NOT_A_KEY,
        **_client_options(common),
    }
    client: AsyncAzureOpenAI
    if dated:
        client = AsyncAzureOpenAI(azure_endpoint=resource, **options)
    else:
        client = _AzureV1(base_url=f"{resource}/openai/v1", **options)
    _introduce(client, common)
    wire = Wire(client, deployments=dated)
    return _class_of(common)(
        name,
        wire,
        kind="azure",
        model=deployment,
        deployment=deployment,
        credentials=credentials,
        common=common,
    )


def _class_of(common: Common) -> type[SdkProvider]:
    """Choose by whether answers are kept at the provider, and whether it answers batches."""
    if "batch_price" in common:
        return BatchProvider
    return BackgroundProvider if common.get("background") else SdkProvider


def resource_of(endpoint: str) -> str:
    """Give the address of an Azure resource, of any address that its pages show for it."""
    return re.sub(r"(/openai(/v1)?)?/*$", "", endpoint)


class _AzureV1(AsyncAzureOpenAI):
    """Azure's v1 API: keys and tokens as Azure has them, paths as OpenAI, and no version."""

    @property
    def default_query(self) -> dict[str, object]:
        """Leave out the version, which the SDK puts into every request to Azure."""
        return {}


def _credentials(name: str, common: Common, *, header: str) -> Credentials:
    """Give who looks after the keys; of a plain key, which is the provider's only one."""
    key = common["api_key"]
    if isinstance(key, Credentials):
        return key
    return Credentials.of_key(key, provider=name, clock=common["clock"], header=header)


def _client_options(common: Common) -> dict[str, Any]:
    """Give what both clients of the SDK are made with."""
    link = common.get("link", Link())
    return {
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
    import httpx2  # noqa: PLC0415 - the SDK's HTTP library

    limits = httpx2.Limits(
        max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=60
    )
    verify = link.tls or _usual_roots()
    return DefaultAioHttpClient(limits=limits, verify=verify, proxy=link.proxy)


@cache
def _usual_roots() -> ssl.SSLContext:
    """Whom TLS believes, read once: reading the roots takes longer than many a call."""
    import httpx2  # noqa: PLC0415 - as above

    context: ssl.SSLContext = httpx2.create_ssl_context()
    return context
