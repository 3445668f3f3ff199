"""ClickHouse over its own HTTP interface, by clickhouse-connect."""

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.settings import Settings

__all__ = ["ClickHouse", "ClickHouseRefusedError", "ClickHouseUnavailableError", "database_of"]

SAFE_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")


class ClickHouseUnavailableError(Exception):
    """Raised when ClickHouse cannot be reached or does not answer in time."""


class ClickHouseRefusedError(Exception):
    """Raised when ClickHouse answers that it will not do what was asked; `code` says why."""

    def __init__(self, message: str, code: int) -> None:
        """Keep its error code."""
        super().__init__(message)
        self.code = code


def database_of(url: str) -> str:
    """Give the database of a CLICKHOUSE_URL; raises ValueError for a name that is none."""
    name = unquote(urlsplit(url).path.strip("/")) or "default"
    if not SAFE_NAME.match(name):
        message = f"CLICKHOUSE_URL names the database {name}: letters, digits and _ are allowed"
        raise ValueError(message)
    return name


class ClickHouse:
    """A synchronous client; callers on an event loop use a thread."""

    def __init__(self, settings: Settings, *, timeout_s: float = 30) -> None:
        """Connect; raises ClickHouseUnavailableError, ClickHouseRefusedError."""
        url = settings.clickhouse_url.get_secret_value() if settings.clickhouse_url else ""
        parts = urlsplit(url)
        self.database = database_of(url)
        self.shown_url = f"{parts.scheme}://{parts.hostname}:{parts.port or 8123}"
        try:
            self._client: Client = clickhouse_connect.get_client(
                interface="https" if parts.scheme == "https" else "http",
                host=parts.hostname or "",
                port=parts.port or (8443 if parts.scheme == "https" else 8123),
                username=unquote(parts.username or "default"),
                password=unquote(parts.password or ""),
                connect_timeout=5,
                send_receive_timeout=timeout_s,
                query_retries=0,
                autogenerate_session_id=False,
                compress=False,
            )
        except ClickHouseError as error:
            raise self._told(error) from error

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
        return self._query(statement, parameters, self._settings())

    def rows_outside(self, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run a query in no database of ours, which may not be there yet."""
        return self._query(statement, None, {})

    def insert(self, table: str, rows: Iterable[dict[str, Any]], *, token: str | None) -> None:
        """Insert rows; a batch sent again with the same token is dropped by ClickHouse.

        Without a token nothing is dropped: of rows with one id the newest counts in any case.
        """
        body = b"\n".join(json.dumps(row, separators=(",", ":")).encode() for row in rows)
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
        """Give the connections back."""
        self._client.close()

    def _query(
        self, statement: str, parameters: dict[str, Any] | None, settings: dict[str, Any]
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        result = self._guarded(
            lambda: self._client.query(statement, parameters=parameters, settings=settings)
        )
        return list(result.column_names), [tuple(row) for row in result.result_rows]

    def _settings(self) -> dict[str, Any]:
        return {"database": self.database}

    def _guarded(self, action: Any) -> Any:  # noqa: ANN401
        try:
            return action()
        except ClickHouseError as error:
            raise self._told(error) from error
        except OSError as error:
            raise ClickHouseUnavailableError(self._sentence(error)) from error

    def _told(self, error: Exception) -> Exception:
        """Tell an answer of the server from the lack of one: answers carry a code."""
        code = getattr(error, "code", None)
        if code is None:
            return ClickHouseUnavailableError(self._sentence(error))
        return ClickHouseRefusedError(self._sentence(error), code)

    def _sentence(self, error: Exception) -> str:
        text = " ".join(str(error).split())[:300]
        return f"ClickHouse at {self.shown_url}: {text}"
