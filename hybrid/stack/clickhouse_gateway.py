"""The ClickHouse engine (chdb) on ClickHouse's own HTTP interface, for the local stack.

Clients (clickhouse-connect, Grafana, curl) work as against a server. One process owns the data
folder; statements run one at a time on a thread of their own, as the engine is in this process.
"""

import asyncio
import gzip
import json
import re
import tempfile
import zlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lz4.frame
import zstandard
from aiohttp import web

__all__ = ["ClickHouseGateway", "serve"]

#: URL parameters of the interface that are not settings of the query.
NOT_SETTINGS = frozenset(
    {
        "query", "database", "default_format", "user", "password", "session_id", "session_check",
        "session_timeout", "compress", "decompress", "query_id", "quota_key", "role",
        "client_protocol_version", "wait_end_of_query", "buffer_size", "enable_http_compression",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms", "stacktrace",
        "cancel_http_readonly_queries_on_client_close", "date_time_input_format_",
    # Set in the one session there is, it could not be taken back.
    "readonly",
    }
)  # fmt: skip
SAFE_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
INSERT = re.compile(
    r"^\s*insert\s+into\s+(?P<target>.+?)(?:\s+format\s+(?P<format>\w+))\s*$",
    re.IGNORECASE | re.DOTALL,
)
FORMAT = re.compile(r"\bformat\s+(\w+)\s*;?\s*$", re.IGNORECASE)
ERROR_CODE = re.compile(r"Code: (\d+)")
MAX_BODY = 1 << 30
#: Who may ask: programs of this machine. A page in a browser is somebody else's program.
LOOPBACK = re.compile(r"^(127(\.\d{1,3}){3}|localhost|\[::1\])(:\d+)?$", re.IGNORECASE)
#: What a GET may do: the interface's own rule.
READS = re.compile(
    r"^[\s(]*(/\*.*?\*/\s*)*(select|with|show|describe|desc|explain|exists)\b",
    re.IGNORECASE | re.DOTALL,
)
#: What reaches out of the engine: other files, hosts and programs.
OUTSIDE = re.compile(
    r"\b(file|fileCluster|url|urlCluster|s3|s3Cluster|gcs|hdfs|azureBlobStorage|remote|remoteSecure"
    r"|executable|mysql|postgresql|mongodb|sqlite|jdbc|odbc|redis|python|deltaLake|iceberg|hudi)"
    r"\s*\(|\bengine\s*=?\s*(file|url|s3|executable|mysql|postgresql|sqlite|python)\b"
    r"|\binto\s+outfile\b",
    re.IGNORECASE,
)


class ClickHouseGateway:
    """The engine and how a request becomes a statement of it."""

    def __init__(self, folder: Path) -> None:
        """Open the data folder; one process at a time may."""
        from chdb import session  # noqa: PLC0415 - takes over a second to import

        folder.mkdir(parents=True, exist_ok=True)
        self._session = session.Session(str(folder))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clickhouse")
        self._database = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request of the HTTP interface."""
        body = _decompress(await request.read(), request.headers.get("Content-Encoding", ""))
        options = dict(request.query)
        options.setdefault("database", request.match_info.get("database", ""))
        statement, data = _split(options.get("query", ""), body)
        if not statement.strip():
            return web.Response(text="Ok.\n")
        only_reads = request.method == "GET" or options.get("readonly", "0") != "0"
        forbidden = _forbidden(statement, only_reads=only_reads)
        if forbidden is not None:
            return _refusal(forbidden)
        loop = asyncio.get_running_loop()
        try:
            answer, fmt = await loop.run_in_executor(
                self._thread, self._run, statement, data, options
            )
        except Exception as error:  # noqa: BLE001 - the engine raises its own and RuntimeError
            return _refusal(str(error))
        return web.Response(
            body=answer,
            headers={
                "Content-Type": "text/plain; charset=UTF-8",
                "X-ClickHouse-Format": fmt,
                "X-ClickHouse-Server-Display-Name": "hybrid-local",
                "X-ClickHouse-Timezone": "UTC",
                "X-ClickHouse-Summary": json.dumps({"written_rows": "0", "read_rows": "0"}),
            },
        )

    def _run(self, statement: str, data: bytes, options: dict[str, str]) -> tuple[bytes, str]:
        """Run one statement on the engine's thread; raises what the engine raises."""
        database = options.get("database", "default") or "default"
        if not SAFE_NAME.match(database):
            message = f"Code: 81. DB::Exception: Database {database} does not exist"
            raise ValueError(message)
        if database != self._database:
            self._session.query(f"CREATE DATABASE IF NOT EXISTS {database}")
            self._session.query(f"USE {database}")
            self._database = database
        settings = {
            name: value
            for name, value in options.items()
            if name not in NOT_SETTINGS and not name.startswith("param_") and SAFE_NAME.match(name)
        }
        insert = INSERT.match(statement) if data else None
        if insert:
            return self._insert(insert["target"], insert["format"], data, settings), ""
        parameters = {
            name.removeprefix("param_"): value
            for name, value in options.items()
            if name.startswith("param_")
        }
        found = FORMAT.search(statement)
        fmt = found[1] if found else options.get("default_format", "TabSeparated")
        for name, value in settings.items():
            self._session.query(f"SET {name} = {_literal(value)}")
        try:
            answer = self._session.query(statement, fmt, params=parameters or None)
            return bytes(answer.bytes() or b""), fmt
        finally:
            for name in settings:
                self._session.query(f"SET {name} = DEFAULT")

    def _insert(self, target: str, fmt: str, data: bytes, settings: dict[str, str]) -> bytes:
        """Insert the body: as text in the statement, or from a file for binary formats."""
        clause = ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items())
        clause = f" SETTINGS {clause}" if clause else ""
        if fmt.lower() in {"jsoneachrow", "values", "csv", "tabseparated", "tsv"}:
            self._session.query(f"INSERT INTO {target}{clause} FORMAT {fmt}\n{data.decode()}")
            return b""
        with tempfile.NamedTemporaryFile(suffix=".data") as file:
            file.write(data)
            file.flush()
            columns = re.search(r"\((.*)\)\s*$", target, re.DOTALL)
            chosen = columns[1] if columns else "*"
            source = f"SELECT {chosen} FROM file('{file.name}', {fmt}){clause}"  # noqa: S608 - passes a client's own statement on
            self._session.query(f"INSERT INTO {target} {source}")
        return b""


def _literal(value: str) -> str:
    if re.fullmatch(r"-?\d+(\.\d+)?", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _split(query: str, body: bytes) -> tuple[str, bytes]:
    """Tell statement from data: a `query` in the URL makes the body data.

    clickhouse-connect sends an insert's statement as the body's first line.
    """
    if query:
        return (query, body) if INSERT.match(query) else (query + body.decode(), b"")
    first, _, rest = body.partition(b"\n")
    if INSERT.match(first.decode("utf-8", "replace")):
        return first.decode(), rest
    return body.decode("utf-8", "replace"), b""


def _decompress(body: bytes, encoding: str) -> bytes:
    """Undo a body's content encoding; lz4 bodies may be a sequence of frames."""
    match encoding.strip().lower():
        case "gzip":
            return gzip.decompress(body)
        case "deflate":
            return zlib.decompress(body)
        case "zstd":
            return (
                zstandard.ZstdDecompressor().decompressobj(read_across_frames=True).decompress(body)
            )
        case "lz4":
            parts = []
            while body:
                decoder = lz4.frame.LZ4FrameDecompressor()
                parts.append(decoder.decompress(body))
                body = decoder.unused_data or b""
            return b"".join(parts)
        case _:
            return body


def _refusal(text: str) -> web.Response:
    found = ERROR_CODE.search(text)
    code = found[1] if found else "1002"
    status = 404 if code in {"60", "81"} else 500
    return web.Response(
        status=status, text=text.strip() + "\n", headers={"X-ClickHouse-Exception-Code": code}
    )


def _forbidden(statement: str, *, only_reads: bool) -> str | None:
    """Say why a statement is not run; None when it may be."""
    if only_reads and not READS.match(statement):
        return (
            "Code: 164. DB::Exception: a GET, and what has readonly=1, only reads; send the "
            "statement by POST (READONLY)"
        )
    if OUTSIDE.search(statement):
        return (
            "Code: 497. DB::Exception: the local stack's engine reads and writes nothing outside "
            "its own data (ACCESS_DENIED)"
        )
    return None


@web.middleware
async def _only_this_machine(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse what a web page sends through its reader's browser (also by DNS rebinding)."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    from_page = "Origin" in request.headers or site not in {"none", "same-origin"}
    if not LOOPBACK.match(request.headers.get("Host", "")) or from_page:
        return web.Response(
            status=403, text="only programs of this machine may ask the local ClickHouse\n"
        )
    return await handler(request)


async def _ping(_request: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


async def serve(folder: Path, *, port: int) -> web.AppRunner:
    """Serve on 127.0.0.1 until the runner is cleaned up; raises OSError when the port is taken."""
    gateway = ClickHouseGateway(folder)
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_only_this_machine])
    app.router.add_get("/ping", _ping)
    app.router.add_get("/replicas_status", _ping)
    app.router.add_route("*", "/", gateway.handle)
    app.router.add_route("*", "/{database:[A-Za-z_][A-Za-z0-9_]*}", gateway.handle)
    runner = web.AppRunner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner
