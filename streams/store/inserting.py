"""Inserting a batch of which ClickHouse may refuse some rows: those are found, the others stored.

Which of the two is at fault is the question: a row that is set aside for the server's trouble is a
call that the bill lacks. So a row is set aside when other rows of its batch were taken, or when the
code says that its data is wrong and there are few such; else the batch waits.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from streams.store.clickhouse import ClickHouseRefusedError, ClickHouseUnavailableError

__all__ = ["RefusedRow", "Store", "insert_rows"]

Rows = list[dict[str, Any]]

#: Codes of ClickHouse's ErrorCodes.cpp that are said of a value: cannot parse text, escape
#: sequence, quoted string, input, date, time, number, UUID, bool; type mismatch, cannot convert,
#: out of bound or range, incorrect data, NULL, overflow of a decimal, constraint, element of enum.
OF_DATA = frozenset({6, 25, 26, 27, 38, 41, 53, 69, 70, 72, 117, 321, 349, 376, 407, 467, 469, 691})
#: Codes that are said of the server, or of who asks: no row is looked for. Unknown table, database
#: or user, wrong password, time-out, read-only, no space, too many queries, memory, parts, no
#: access, keeper trouble, unknown status of an insert.
OF_SERVER = frozenset(
    {60, 81, 159, 164, 192, 193, 194, 202, 209, 210, 225, 241, 242, 243, 252, 279, 319, 425, 439}
    | {497, 516, 999}
)
#: Code 252 says two things, and only words tell them apart: that the table has too many parts,
#: which passes, and that a block has rows of too many months, which a part of its rows has not.
TOO_WIDE = "single INSERT block"
#: So many refused rows and none stored: it is not the rows, whatever the code says.
ENOUGH = 50


class Store(Protocol):
    """The part of the ClickHouse client that is used here."""

    def insert(self, table: str, rows: Rows, *, token: str | None) -> None:
        """Insert rows, all or none."""
        ...


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that ClickHouse does not take, and what it says."""

    row: dict[str, Any]
    error: ClickHouseRefusedError


def insert_rows(store: Store, table: str, rows: Rows, *, token: str | None) -> list[RefusedRow]:
    """Insert a batch; gives the rows that ClickHouse refused because of their own data.

    Raises ClickHouseUnavailableError when the server is at fault: the whole batch comes again, and
    what was stored of it counts once.
    """
    batch = _Batch(store, table)
    batch.insert(rows, token)
    batch.judge()
    return batch.refused


class _Batch:
    def __init__(self, store: Store, table: str) -> None:
        self._store = store
        self._table = table
        self._stored = 0
        self.refused: list[RefusedRow] = []

    def insert(self, rows: Rows, token: str | None) -> None:
        """Insert rows, by halves where they are refused."""
        try:
            self._store.insert(self._table, rows, token=token)
        except ClickHouseRefusedError as error:
            if error.code in OF_SERVER and not (len(rows) > 1 and TOO_WIDE in str(error)):
                raise ClickHouseUnavailableError(str(error)) from error
            if len(rows) == 1:
                self.refused.append(RefusedRow(rows[0], error))
                if len(self.refused) >= ENOUGH:
                    self.judge()
                return
            half = len(rows) // 2
            self.insert(rows[:half], token and f"{token}a")
            self.insert(rows[half:], token and f"{token}b")
        else:
            self._stored += len(rows)

    def judge(self) -> None:
        """Raise ClickHouseUnavailableError where nothing shows that the rows are at fault."""
        if self._stored:
            return
        for one in self.refused:
            if one.error.code not in OF_DATA or len(self.refused) >= ENOUGH:
                raise ClickHouseUnavailableError(str(one.error)) from one.error
