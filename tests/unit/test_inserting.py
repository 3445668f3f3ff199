"""Whose fault a refused insert is: the row's, or the server's."""

from collections.abc import Callable
from typing import Any

import pytest

from streams.store.clickhouse import ClickHouseRefusedError, ClickHouseUnavailableError
from streams.store.inserting import ENOUGH, insert_rows

PARSE, NEW, PARTS, BLOCK = 27, 3_999, 252, "INSERT block"


class Server:
    """Takes all rows of an insert or none, as ClickHouse does; counts what it stored."""

    def __init__(self, code_of: Callable[[int], int | None]) -> None:
        self._code_of = code_of
        self.stored: list[int] = []
        self.tokens: list[str] = []

    def insert(self, table: str, rows: list[dict[str, Any]], *, token: str) -> None:
        assert table == "t"
        for row in rows:
            code = self._code_of(row["n"])
            if code is not None:
                message = "refused"
                raise ClickHouseRefusedError(message, code)
        self.tokens.append(token)
        self.stored += [row["n"] for row in rows]


def insert(server: Server, count: int) -> list[int]:
    refused = insert_rows(server, "t", [{"n": n} for n in range(count)], token="b")
    return [one.row["n"] for one in refused]


@pytest.mark.parametrize("code", [PARSE, NEW])
def test_bad_rows_among_good_ones_are_found(code: int) -> None:
    server = Server(lambda n: code if n in {3, 700, 701} else None)
    assert insert(server, 1000) == [3, 700, 701]
    assert sorted(server.stored) == [n for n in range(1000) if n not in {3, 700, 701}]
    assert len(set(server.tokens)) == len(server.tokens)


def test_a_row_alone_is_at_fault_only_where_the_code_says_so() -> None:
    assert insert(Server(lambda _: PARSE), 1) == [0]
    with pytest.raises(ClickHouseUnavailableError):
        insert(Server(lambda _: NEW), 1)


def test_when_every_row_is_refused_it_is_not_the_rows() -> None:
    assert insert(Server(lambda _: PARSE), 2) == [0, 1]
    tried: list[int] = []
    with pytest.raises(ClickHouseUnavailableError):
        insert(Server(lambda n: (tried.append(n), PARSE)[1]), 5_000)
    assert max(tried) < ENOUGH * 2, "the rest need not be tried"


def test_trouble_of_the_server_is_never_a_row() -> None:
    server = Server(lambda n: PARTS if n == 5 else None)
    with pytest.raises(ClickHouseUnavailableError):
        insert(server, 10)
    assert server.stored == []


def test_a_block_of_too_many_partitions_is_split_and_no_row_is_at_fault() -> None:
    class Narrow(Server):
        def insert(self, table: str, rows: list[dict[str, Any]], *, token: str) -> None:
            if len(rows) > 100:
                message = f"Too many partitions for single {BLOCK} (more than 100)"
                raise ClickHouseRefusedError(message, PARTS)
            super().insert(table, rows, token=token)

    server = Narrow(lambda _: None)
    assert insert(server, 1000) == []
    assert sorted(server.stored) == list(range(1000))
