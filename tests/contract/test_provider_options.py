"""What a `[[providers]]` table says of requests and of the way there, as the vendor sees it."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from agents.clock import SystemClock
from agents.providers.adapters import SdkProvider
from agents.providers.arguments import Dialect
from agents.providers.presets import PRESETS, dialect_of
from agents.providers.requests import ChatRequest
from hybrid.config import load_settings
from hybrid.errors import UsageError
from hybrid.providing import build_providers
from schemas.providers import ProviderSpec
from tests.contract.test_answers import chat

SCHEMA = {"type": "object", "required": ["a"]}
Heard = tuple[str, dict[str, str], dict[str, Any]]


class Server:
    """Answers a chat, and keeps what it heard: request line, headers, body."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *fields = head.strip().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (one.partition(": ") for one in fields)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        self.heard.append((line, headers, json.loads(body)))
        writer.write(chat('{"a": 1}', output=[]))  # an answer of either API
        await writer.drain()
        writer.close()


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def ask(
    folder: Path, table: str, *, environment: dict[str, str] | None = None,
    kind: str = "openai-compatible", context: ssl.SSLContext | None = None, **request: Any,
) -> Heard:  # fmt: skip
    """Make one call as hybrid.toml says, and give what the vendor heard."""
    server, scheme = Server(), "https" if context else "http"

    async def once() -> None:
        async with listening(server.serve, context) as port:
            address = f"{scheme}://127.0.0.1:{port}"
            where = {
                "azure": f'endpoint = "{address}"\ndeployment = "m"\nkey_variable = "THE_KEY"',
                "openai-compatible": f'base_url = "{address}/v1"\nmodel = "m"',
            }[kind]
            file = folder / "hybrid.toml"
            file.write_text(f'[[providers]]\nname = "vendor"\nkind = "{kind}"\n{where}\n{table}\n')
            settings = load_settings(environment={"THE_KEY": "k"}, file=file)
            provider = build_providers(settings, SystemClock())["vendor"]
            try:
                messages = [{"role": "user", "content": "hi"}]
                await provider.complete(ChatRequest(messages, "attempt-1", **request))
            finally:
                await provider.close()

    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        asyncio.run(once())
    return server.heard[0]


def test_fields_of_a_request_are_as_the_table_says(tmp_path: Path) -> None:
    table = """
    max_tokens_field = "max_tokens"
    drop = ["seed", "service_tier"]
    extra_body = {chat_template_kwargs = {enable_thinking = false}, top_k = 5}
    low_tier = "flex"
    """
    parameters = {"seed": 1, "top_p": 0.5, "top_k": 9}
    _, _, body = ask(tmp_path, table, max_output_tokens=7, parameters=parameters, low_priority=True)
    assert {name: body[name] for name in body if name not in {"model", "messages"}} == {
        "max_tokens": 7, "top_p": 0.5, "top_k": 5, "chat_template_kwargs": {"enable_thinking": False},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("structured", "sent", "told"),
    [
        ("strict", {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}, False),
        ("schema", {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}, False),
        ("object", {"type": "json_object"}, True),
        ("none", None, True),
    ],
)  # fmt: skip
def test_a_wanted_schema_goes_out_as_the_vendor_takes_it(
    structured: str, sent: dict[str, Any] | None, tmp_path: Path, *, told: bool
) -> None:
    _, _, body = ask(tmp_path, f'structured = "{structured}"', response_schema=SCHEMA)
    assert body.get("response_format") == sent
    assert ('"required":["a"]' in body["messages"][0]["content"]) is told
    assert body["messages"][-1] == {"role": "user", "content": "hi"}


@pytest.mark.parametrize("kind", ["openai-compatible", "azure"])
def test_headers_go_out_and_nobody_is_told_the_names_that_openai_knows_us_by(
    kind: str, tmp_path: Path
) -> None:
    ours = {"OPENAI_ORG_ID": "org-secret", "OPENAI_PROJECT_ID": "proj-secret"}
    table = 'headers = {X-Team = "a b", HTTP-Referer = "https://x"}'
    _, headers, _ = ask(tmp_path, table, environment=ours, kind=kind)
    assert (headers["x-team"], headers["http-referer"]) == ("a b", "https://x")
    assert headers["x-client-request-id"] == "attempt-1"
    assert "secret" not in json.dumps(headers)
    own = 'organization = "org-1"\nproject = "proj-1"'
    _, headers, _ = ask(tmp_path, own, environment=ours, kind=kind)
    assert headers["openai-organization"] == "org-1"
    assert headers["openai-project"] == "proj-1"


@pytest.mark.parametrize(
    ("table", "environment", "line"),
    [
        ("", {}, "/openai/v1/chat/completions"),
        ('api_version = "v1"\napi = "responses"', {}, "/openai/v1/responses"),
        ('api_version = "2024-10-21"', {}, "/openai/deployments/m/chat/completions?api-version=2024-10-21"),
        ("", {"OPENAI_API_VERSION": "2024-10-21"}, "/openai/v1/chat/completions"),
    ],
)  # fmt: skip
def test_azure_is_asked_by_its_v1_api_unless_the_table_says_a_version(
    table: str, environment: dict[str, str], line: str, tmp_path: Path
) -> None:
    heard, headers, body = ask(tmp_path, table, environment=environment, kind="azure")
    assert heard == f"POST {line} HTTP/1.1"
    assert (headers["api-key"], "authorization" in headers, body["model"]) == ("k", False, "m")


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({}, "/openai/v1"),
        ({"OPENAI_API_VERSION": "v1"}, "/openai/v1"),
        ({"OPENAI_API_VERSION": "2024-10-21"}, "/openai"),
    ],
)
def test_the_variable_for_azures_version_is_heeded(
    said: dict[str, str], path: str, tmp_path: Path
) -> None:
    found = {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://a.example", **said}
    settings = load_settings(environment=found, file=tmp_path / "none.toml")
    provider = build_providers(settings, SystemClock())["azure"]
    assert isinstance(provider, SdkProvider)
    assert provider._wire.client.base_url.path.rstrip("/") == path


def test_openais_own_address_is_told_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    none = tmp_path / "none.toml"
    for url, told in ((None, "org-secret"), ("https://api.openai.com/v1", "org-secret"), ("https://eu.x.dev/v1", None)):  # fmt: skip
        found = {"OPENAI_API_KEY": "k", **({"OPENAI_BASE_URL": url} if url else {})}
        provider = build_providers(load_settings(environment=found, file=none), SystemClock())[
            "openai"
        ]
        assert provider._wire.client.organization == told  # type: ignore[attr-defined]


def test_a_ca_file_is_believed_and_without_it_nobody_is(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    _, headers, _ = ask(tmp_path, f'ca_file = "{file}"', context=context)
    assert headers["x-client-request-id"] == "attempt-1"
    with pytest.raises(Exception, match="no connection"):
        ask(tmp_path, "", context=context)
    with pytest.raises(UsageError, match=r"ca_file = nowhere\.pem cannot be used"):
        ask(tmp_path, 'ca_file = "nowhere.pem"')


def test_calls_go_through_a_proxy(tmp_path: Path) -> None:
    proxy = Server()

    async def once() -> None:
        async with listening(proxy.serve) as port:
            file = tmp_path / "hybrid.toml"
            file.write_text(
                '[[providers]]\nname = "vendor"\nkind = "openai-compatible"\nmodel = "m"\n'
                f'base_url = "http://vendor.invalid/v1"\nproxy = "http://127.0.0.1:{port}"\n'
            )
            settings = load_settings(environment={}, file=file)
            provider = build_providers(settings, SystemClock())["vendor"]
            try:
                await provider.complete(ChatRequest([{"role": "user", "content": "x"}], "a"))
            finally:
                await provider.close()

    asyncio.run(once())
    assert proxy.heard[0][0].startswith("POST http://vendor.invalid/v1/chat/completions")


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ('headers = {"Bad Name" = "x"}', "is no header that can be sent"),
        ('headers = {X-A = "é"}', "is no header that can be sent"),
        ('structured = "maybe"', "structured"),
        ('max_tokens_field = "tokens"', "max_tokens_field"),
        ('proxy = "localhost"', "proxy"),
    ],
)
def test_a_wrong_option_is_refused_at_start(field: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "hybrid.toml"
    table = 'name = "v"\nkind = "openai-compatible"\nmodel = "m"\nbase_url = "http://x/v1"'
    file.write_text(f"[[providers]]\n{table}\n{field}\n")
    with pytest.raises(UsageError, match=said):
        load_settings(environment={}, file=file)


def a_spec(base_url: str, **fields: Any) -> ProviderSpec:
    return ProviderSpec(name="v", kind="openai-compatible", model="m", base_url=base_url, **fields)


def test_the_commonest_vendors_are_known_by_their_address_and_the_table_wins() -> None:
    assert len(PRESETS) >= 10
    deepseek = dialect_of(a_spec("https://api.deepseek.com/v1"))
    assert (deepseek.max_tokens_field, deepseek.structured) == ("max_tokens", "object")
    assert dialect_of(a_spec("https://api.anthropic.com/v1/")).structured == "none"
    assert dialect_of(a_spec("https://dashscope-intl.aliyuncs.com/x")).structured == "object"
    assert dialect_of(a_spec("https://api.deepseek.com.evil.dev/v1")) == Dialect()
    assert dialect_of(a_spec("http://localhost:8000/v1")) == Dialect()
    own = a_spec(
        "https://api.deepseek.com/v1", structured="schema", drop=("seed",), extra_body={"a": 1}
    )
    assert dialect_of(own) == Dialect("max_tokens", frozenset({"seed"}), "schema", {"a": 1})
