"""ClickHouse over its own HTTP interface, by clickhouse-connect."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.settings import Settings
from streams.store.address import address_of

__all__ = [
    "MOST_ROWS",
    "ClickHouse",
    "ClickHouseRefusedError",
    "ClickHouseUnavailableError",
]

#: The code that ClickHouse would give to what is no JSON.
CANNOT_PARSE_TEXT = 6
#: What only reads is given up when it would read more rows than this.
MOST_ROWS = 100_000_000
#: Of one call no two rows lie in two partitions: both are made of when it began. So each partition
#: is read by itself, which takes a third to a half of the time away.
READS = {"do_not_merge_across_partitions_select_final": 1}
#: Bytes of an answer that are read at a time.
PIECE = 1024 * 1024
#: How OpenSSL says, inside the words of three libraries, why it trusts a certificate not.
UNTRUSTED = re.compile(r"certificate verify failed: ([^(\[]+)")
#: What the client says at the end of a long tale about pools and retries.
REASON = re.compile(
    r"(?:\[Errno -?\d+\]|\[SSL: \w+\]) (?P<system>[\w ',-]+)"
    r"|(?P<other>Read timed out|Remote end closed connection|label empty or too long)"
)


class ClickHouseUnavailableError(Exception):
    """Raised when ClickHouse cannot be reached or does not answer in time."""


class ClickHouseRefusedError(Exception):
    """Raised when ClickHouse answers that it will not do what was asked; `code` says why."""

    def __init__(self, message: str, code: int) -> None:
        """Keep the code that ClickHouse gave."""
        super().__init__(message)
        self.code = code


class ClickHouse:
    """A synchronous client; callers on an event loop use a thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        timeout_s: float = 30,
        reads: bool = False,
        most_rows: int = MOST_ROWS,
    ) -> None:
        """Connect; raises ClickHouseUnavailableError, ClickHouseRefusedError.

        `reads`: the server is asked to change nothing, and to give a query up after `timeout_s`
        or when it would read more than `most_rows`.
        """
        url = settings.clickhouse_url.get_secret_value() if settings.clickhouse_url else ""
        address = address_of(url)
        self.database = address.database
        self.shown_url = address.shown
        try:
            self._client: Client = clickhouse_connect.get_client(
                interface="https" if address.scheme == "https" else "http",
                host=address.host,
                port=address.port,
                username=address.user,
                password=address.password,
                ca_cert=settings.clickhouse_ca_file,
                connect_timeout=5,
                send_receive_timeout=timeout_s,
                query_retries=0,
                autogenerate_session_id=False,
                compress=False,
            )
        except ClickHouseError as error:
            raise self._told(error) from error
        limits = {
            "max_execution_time": int(timeout_s), "max_rows_to_read": most_rows, "readonly": 1,
        }  # fmt: skip
        self._limits = self._settable(limits) if reads else {}
        self._reads = self._settable(READS)
        #: Hears of each query with its parameters, where somebody wants to show them.
        self.on_query: Callable[[str, Mapping[str, Any]], None] | None = None

    def command(self, statement: str, *, settings: dict[str, Any] | None = None) -> None:
        """Run a statement without a result."""
        chosen = {**self._settings(), **(settings or {})}
        self._guarded(lambda: self._client.command(statement, settings=chosen))

    def command_outside(self, statement: str) -> None:
        """Run a statement in no database of ours, such as the one that creates it."""
        self._guarded(lambda: self._client.command(statement))

    def rows(
        self, statement: str, parameters: dict[str, Any] | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run a query; gives the column names and the rows."""
        if self.on_query is not None:
            self.on_query(statement, parameters or {})
        return self._query(statement, parameters, {**self._settings(), **self._reads})

    def rows_outside(self, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run a query in no database of ours, which may not be there yet."""
        return self._query(statement, None, {})

    def stream(
        self, statement: str, parameters: dict[str, Any] | None = None, *, form: str
    ) -> Iterator[bytes]:
        """Run a query; gives its answer in one of ClickHouse's own formats, piece by piece."""
        source = self._guarded(
            lambda: self._client.raw_stream(
                statement,
                parameters=parameters,
                settings={**self._settings(), **self._reads},
                fmt=form,
            )
        )
        with source:
            while piece := self._guarded(lambda: source.read(PIECE)):
                yield piece

    def insert(self, table: str, rows: Iterable[dict[str, Any]], *, token: str | None) -> None:
        """Insert rows; a batch sent again with the same token is dropped by ClickHouse.

        Without a token nothing is dropped: of rows with one id the newest counts in any case.
        """
        try:
            body = b"\n".join(json.dumps(row, separators=(",", ":")).encode() for row in rows)
        except (TypeError, ValueError, RecursionError) as error:
            message = f"a row cannot be written as JSON ({type(error).__name__})"
            raise ClickHouseRefusedError(message, CANNOT_PARSE_TEXT) from error
        settings = {
            **self._settings(),
            "input_format_skip_unknown_fields": 1,
            **({"insert_deduplication_token": token} if token else {"insert_deduplicate": 0}),
        }
        self._guarded(
            lambda: self._client.raw_insert(
                f"{self.database}.{table}", insert_block=body, settings=settings, fmt="JSONEachRow"
            )
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _query(
        self, statement: str, parameters: dict[str, Any] | None, settings: dict[str, Any]
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        result = self._guarded(
            lambda: self._client.query(statement, parameters=parameters, settings=settings)
        )
        return list(result.column_names), [tuple(row) for row in result.result_rows]

    def _settings(self) -> dict[str, Any]:
        return {"database": self.database, **self._limits}

    def _settable(self, limits: dict[str, int]) -> dict[str, int]:
        """Leave out what this user may not set: one who may only read cannot be asked to."""
        known = self._client.server_settings
        return {
            name: value
            for name, value in limits.items()
            if name not in known or not known[name].readonly
        }

    def _guarded(self, action: Any) -> Any:  # noqa: ANN401
        try:
            return action()
        except ClickHouseError as error:
            raise self._told(error) from error
        except OSError as error:
            raise ClickHouseUnavailableError(self._unreached(error)) from error

    def _told(self, error: Exception) -> Exception:
        """Tell an answer of the server from the lack of one: answers carry a code."""
        code = getattr(error, "code", None)
        if code is None:
            return ClickHouseUnavailableError(self._unreached(error))
        return ClickHouseRefusedError(self._sentence(error), code)

    def _unreached(self, error: Exception) -> str:
        """Say why there is no answer: of what the client says, the innermost reason."""
        text = " ".join(str(error).split())
        if "WRONG_VERSION_NUMBER" in text:
            return f"ClickHouse at {self.shown_url}: it does not speak TLS there; write http://"
        found = REASON.search(text)
        if found is None or UNTRUSTED.search(text):
            return self._sentence(error)
        reason = (found["system"] or found["other"]).strip(" '")
        return (
            f"ClickHouse at {self.shown_url}: it cannot be reached ({reason}); "
            "check CLICKHOUSE_URL and that it runs"
        )

    def _sentence(self, error: Exception) -> str:
        text = " ".join(str(error).split())
        distrust = UNTRUSTED.search(text)
        if distrust is not None:
            return (
                f"the certificate of ClickHouse at {self.shown_url} is not trusted: "
                f"{distrust[1].strip()}; check CLICKHOUSE_CA_FILE, and that the certificate names "
                "this host and is valid now"
            )
        text = text[:300]
        return f"ClickHouse at {self.shown_url}: {text}"
