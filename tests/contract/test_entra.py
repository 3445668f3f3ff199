"""Tokens of Microsoft Entra ID, by azure-identity from a token endpoint of the test's own."""

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from agents.capacity.breaker import BreakerState
from agents.clock import ManualClock
from agents.task import Deferred
from hybrid.config import load_settings
from hybrid.errors import UsageError
from hybrid.providing import build_providers
from tests.contract.test_answers import chat
from tests.contract.test_keys import Desk, KeyedVendor

ENTRA = 'auth = "entra"'
LASTS_S = 3600


class Authority(ThreadingHTTPServer):
    """Gives `token-1`, `token-2`, …: as App Service's managed identity, and as Entra ID itself."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked: list[dict[str, str]] = []
        self.broken = False
        self.clock = ManualClock(datetime.now(UTC))

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Answering(BaseHTTPRequestHandler):
    server: Authority

    def do_GET(self) -> None:  # a managed identity
        query = {name: one[0] for name, one in parse_qs(urlsplit(self.path).query).items()}
        self._give({**query, "secret": self.headers.get("X-IDENTITY-HEADER", "")})

    def do_POST(self) -> None:  # a client with an assertion
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: one[0] for name, one in parse_qs(body).items()}
        self._give({**form, "path": self.path})

    def _give(self, asked: dict[str, str]) -> None:
        self.server.asked.append(asked)
        until = int(self.server.clock.now().timestamp()) + LASTS_S
        token = {
            "access_token": f"token-{len(self.server.asked)}", "token_type": "Bearer",
            "expires_on": str(until), "expires_in": LASTS_S, "resource": "r",
        }  # fmt: skip
        self.send_response(500 if self.server.broken else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"{}" if self.server.broken else json.dumps(token).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def authority() -> Iterator[Authority]:
    server = Authority()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def a_managed_identity(patch: pytest.MonkeyPatch, authority: Authority) -> None:
    patch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{authority.port}/msi/token")
    patch.setenv("IDENTITY_HEADER", "the-header")
    patch.setenv("AZURE_TOKEN_CREDENTIALS", "prod")
    patch.setenv("NO_PROXY", "127.0.0.1")


def a_desk(folder: Path, authority: Authority, answers: dict[str, bytes], more: str = "") -> Desk:
    vendor = KeyedVendor({**answers})
    return Desk(folder, f"{ENTRA}\n{more}", vendor, kind="azure", clock=authority.clock)


def test_a_managed_identitys_token_is_sent_alone_and_kept_until_shortly_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    a_managed_identity(monkeypatch, authority)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "never-sent")
    desk = a_desk(tmp_path, authority, {"token-1": chat(), "token-2": chat()})

    async def steps(desk: Desk) -> None:
        await desk.answered(5)
        assert len(authority.asked) == 1
        desk.clock.advance(LASTS_S - 20)
        await desk.answered(2)

    desk.run(steps)
    assert desk.vendor.seen == [*["token-1"] * 5, *["token-2"] * 2]
    assert not any("api-key" in headers for headers in desk.vendor.headers)
    assert authority.asked[0]["resource"] == "https://cognitiveservices.azure.com"
    assert authority.asked[0]["secret"] == "the-header"  # noqa: S105 - the test's own
    assert "token-" not in repr(desk.logged)


def test_another_scope_is_asked_for_where_the_table_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    a_managed_identity(monkeypatch, authority)
    scope = 'entra_scope = "https://ai.azure.com/.default"'
    desk = a_desk(tmp_path, authority, {"token-1": chat()}, scope)
    desk.run(lambda desk: desk.answered())
    assert authority.asked[0]["resource"] == "https://ai.azure.com"


def test_a_refused_token_is_asked_for_anew_and_the_call_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    a_managed_identity(monkeypatch, authority)
    desk = a_desk(tmp_path, authority, {"token-2": chat()})

    async def steps(desk: Desk) -> None:
        await desk.answered(2)
        assert desk.health is BreakerState.CLOSED

    desk.run(steps)
    assert desk.vendor.seen == ["token-1", "token-2", "token-2"]


def test_a_role_that_is_missing_is_seen_after_two_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    a_managed_identity(monkeypatch, authority)
    desk = a_desk(tmp_path, authority, {})

    async def steps(desk: Desk) -> None:
        assert isinstance(await desk.one(), Deferred)
        assert desk.health is BreakerState.DOWN

    desk.run(steps)
    assert desk.vendor.seen == ["token-1", "token-2"]


def test_without_a_token_no_call_is_made_and_the_reason_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    a_managed_identity(monkeypatch, authority)
    authority.broken = True
    desk = a_desk(tmp_path, authority, {})

    async def steps(desk: Desk) -> None:
        assert isinstance(await desk.one(), Deferred)

    desk.run(steps)
    assert desk.vendor.seen == []
    (warning,) = desk.events("key_unreadable")
    assert "managed identity" in warning["reason"]
    assert "\n" not in warning["reason"]


def test_a_workload_identity_shows_its_federated_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    ours = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.issue_cert("localhost").configure_cert(context)
    authority.socket = context.wrap_socket(authority.socket, server_side=True)
    ours.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "federated").write_text("the-assertion")
    for name, value in {
        "AZURE_AUTHORITY_HOST": f"https://localhost:{authority.port}",
        "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client",
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "federated"),
        "AZURE_TOKEN_CREDENTIALS": "prod", "REQUESTS_CA_BUNDLE": str(tmp_path / "ca.pem"),
        "NO_PROXY": "localhost,127.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    desk = a_desk(tmp_path, authority, {"token-1": chat()})
    desk.run(lambda desk: desk.answered())
    assert authority.asked[0]["client_assertion"] == "the-assertion"
    assert authority.asked[0]["scope"].startswith("https://cognitiveservices.azure.com/.default")
    assert authority.asked[0]["path"].startswith("/tenant/")


def test_provider_azure_takes_tokens_without_a_table(tmp_path: Path, authority: Authority) -> None:
    none = tmp_path / "none.toml"
    environment = {"HYBRID_AZURE_AUTH": "entra"}
    with pytest.raises(UsageError, match="AZURE_OPENAI_ENDPOINT is needed too"):
        build_providers(load_settings(environment=environment, file=none), authority.clock)
    environment["AZURE_OPENAI_ENDPOINT"] = "https://x.openai.azure.com"
    found = build_providers(load_settings(environment=environment, file=none), authority.clock)
    assert set(found) == {"azure"}


def test_without_the_extra_its_name_is_said() -> None:
    script = """
import sys
sys.modules["azure.identity"] = None
from hybrid.cli import main
main()
"""
    environment = {
        "HYBRID_AZURE_AUTH": "entra", "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "HYBRID_METRICS_PORT": "0",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, "worker"], capture_output=True, text=True, timeout=60,
        check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "pip install 'hybrid-orchestrator[entra]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
