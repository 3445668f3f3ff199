"""ClickHouse behind TLS, an authority of one's own, a password with every sign, a reader."""

import asyncio
import base64
import json
import re
import ssl
import string
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from aiohttp import ClientSession, web
from pydantic import SecretStr

from hybrid.config import load_settings
from schemas.rows import attempt_row
from streams.store.clickhouse import ClickHouse
from tests.integration.forked import Forked
from tests.integration.test_rows import an_attempt

pytestmark = pytest.mark.integration

PASSWORD = f"{string.punctuation} äß€ 日"
#: What is no setting of a query, so that a user with readonly = 1 may say it.
NO_SETTINGS = re.compile(
    r"query|database|default_format|param_.*|query_id|session_id|compress|decompress"
    r"|wait_end_of_query|client_protocol_version|enable_http_compression"
)
READS = re.compile(r"\s*(select|show|describe|explain|with)\b", re.IGNORECASE)


def refused(code: int, why: str) -> web.Response:
    headers = {"X-ClickHouse-Exception-Code": str(code)}
    return web.Response(status=403, text=f"Code: {code}. DB::Exception: {why}\n", headers=headers)


@dataclass
class Front:
    """TLS, two users and the rules of `readonly = 1` before the engine, as a server has them."""

    engine: str
    folder: Path
    port: int = 0
    database: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")
    authority: trustme.CA = field(default_factory=trustme.CA)

    def url(self, user: str, password: str = PASSWORD) -> str:
        return f"https://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{self.database}"

    def ca_file(self, authority: trustme.CA) -> str:
        file = self.folder / f"{id(authority)}.pem"
        authority.cert_pem.write_to_path(str(file))
        return str(file)

    async def answer(self, request: web.Request) -> web.Response:
        scheme, _, coded = request.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(coded).decode().partition(":")
        if scheme != "Basic" or user not in {"writer", "reports"} or password != PASSWORD:
            return refused(516, f"{user}: Authentication failed")
        body, options = await request.read(), dict(request.query)
        if user == "reports":
            statement = options.get("query", "") or body.decode()
            # Such a user sees that no setting is his to change.
            body = body.replace(b"value, readonly FROM", b"value, toUInt8(1) AS readonly FROM")
            settings = [name for name in options if not NO_SETTINGS.fullmatch(name)]
            if settings:
                return refused(164, f"Cannot modify {settings[0]!r} setting in readonly mode")
            if not READS.match(statement):
                return refused(164, "reports: Cannot execute query in readonly mode")
        kept = {k: v for k, v in request.headers.items() if k == "Content-Encoding"}
        url = f"http://{self.engine}{request.path}"
        async with ClientSession(auto_decompress=False) as session:
            sent = session.request(request.method, url, params=options, data=body, headers=kept)
            async with sent as found:
                said = {k: v for k, v in found.headers.items() if k.startswith("X-ClickHouse")}
                return web.Response(status=found.status, body=await found.read(), headers=said)

    async def serve(self, ready: threading.Event, done: threading.Event) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1").configure_cert(context)
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self.answer)
        runner = web.AppRunner(app, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self.port = runner.addresses[0][1]
        ready.set()
        await asyncio.to_thread(done.wait)
        await runner.cleanup()


@pytest.fixture(scope="module")
def front(clickhouse: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    found = Front(clickhouse, tmp_path_factory.mktemp("tls"))
    ready, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(found.serve(ready, done)), daemon=True)
    thread.start()
    assert ready.wait(30)
    yield found
    done.set()
    thread.join(30)


def run(front: Front, command: str, url: str, ca: str | None) -> Forked:
    variables = {"CLICKHOUSE_URL": url, **({"CLICKHOUSE_CA_FILE": ca} if ca else {})}
    return Forked(*command.split(), environment=variables, folder=front.folder)


@pytest.fixture(scope="module")
def filled(front: Front) -> Front:
    """Tables made and a row written through TLS, with a password of every sign."""
    ca, url = front.ca_file(front.authority), front.url("writer")
    made = run(front, "migrate", url, ca)
    assert made.wait() == 0, made.said()
    settings = load_settings(environment={}, clickhouse_url=SecretStr(url), clickhouse_ca_file=ca)
    store = ClickHouse(settings)
    table, row = attempt_row(an_attempt())
    store.insert(table, [row], token=None)
    store.close()
    return front


def test_a_user_who_may_only_read_gets_reports_and_may_not_migrate(filled: Front) -> None:
    ca, url = filled.ca_file(filled.authority), filled.url("reports")
    for question in ("report", "top", "latency", "reliability", "wasted", "forecast"):
        done = run(filled, f"costs {question} --format json", url, ca)
        assert done.wait() == 0, done.said()
    shown = run(filled, "costs report --by provider --format json", url, ca)
    assert shown.wait() == 0, shown.said()
    assert [row["calls"] for row in json.loads(shown.stdout)] == [1]
    elsewhere = f"{url}_not_there_yet"
    done = run(filled, "migrate", elsewhere, ca)
    assert done.wait() == 1, done.said()
    assert "readonly mode" in done.stderr


def test_what_is_wrong_with_tls_or_login_is_one_sentence(filled: Front) -> None:
    ca, url = filled.ca_file(filled.authority), filled.url("writer")
    none = filled.folder / "none.pem"
    none.write_text("no certificate\n")
    cases = [
        (url, None, "is not trusted: "),
        (url, filled.ca_file(trustme.CA()), "check CLICKHOUSE_CA_FILE"),
        (url.replace("127.0.0.1", "localhost"), ca, "check CLICKHOUSE_CA_FILE"),
        (url, str(none), "must hold PEM certificates"),
        (url, str(none) + ".pem", "there is no such file"),
        (url.replace("https:", "http:"), ca, "must begin with https://"),
        (filled.url("writer", "hunter2"), ca, "Authentication failed"),
    ]
    for address, authority, sentence in cases:
        done = run(filled, "migrate", address, authority)
        assert done.wait() in {1, 2}, done.said()
        assert sentence in done.stderr, done.said()
        assert len(done.stderr.strip().splitlines()) == 1, done.said()
        assert "hunter2" not in done.stderr
        assert quote(PASSWORD, safe="") not in done.stderr
