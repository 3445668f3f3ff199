"""The pages about calls: what an address asks for, what is drawn of it, and the SQL beside it."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.console.charts import HEIGHT, WIDTH, Step, drawn
from hybrid.console.pages.choosing import Asked, moment, read
from hybrid.errors import UsageError
from streams.bill.costs import DIMENSIONS, period
from streams.store.spelled import spelled
from tests.builders import NOW


def asked(**query: str) -> Asked:
    return read("/costs", query, now=NOW, by="provider,model")


def query_of(address: str) -> dict[str, str]:
    return {name: one for name, (one,) in parse_qs(urlsplit(address).query).items()}


def test_what_is_asked_for_comes_back_in_links_commands_and_conditions() -> None:
    one = asked(by="tenant", then="day", tenant=" a b ", since="7d", nonsense="x")
    assert (one.by, one.words) == (("tenant", "day"), {"tenant": "a b", "since": "7d"})
    assert one.options == " --tenant 'a b' --since 7d"
    assert one.which == {"since": NOW - timedelta(days=7), "until": None, "only": {"tenant": "a b"}}
    assert one.before["since"] == NOW - timedelta(days=14)
    assert one.before["until"] == one.since
    assert one.step == "day"
    assert asked(since="2d").step == "hour"
    assert asked(by="tenant,day").by == asked(by="tenant", then="day").by
    assert asked(by="tenant", then="tenant").by == ("tenant",)


def test_a_permalink_shows_the_same_calls_whenever_it_is_opened() -> None:
    for words in ({}, {"since": "7d", "tenant": "x"}, {"since": "2026-01-01", "until": "1h"}):
        one = asked(**words)
        later = read(
            "/costs", query_of(one.permalink()), now=NOW + timedelta(days=9), by="provider"
        )
        assert (later.since, later.until, later.by) == (one.since, one.until, one.by)
        assert later.which["only"] == one.which["only"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"by": "secret"}, {"by": "tenant,type,model"}, {"by": "tenant,type", "then": "model"},
        {"since": "yesterday"}, {"since": "1h", "until": "2h"}, {"since": "0s"},
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"choose|write"):
        asked(**wrong)


def test_a_row_leads_to_its_own_calls_by_something_else_and_an_hour_nowhere() -> None:
    row = {"provider": "openai", "model": "m"}
    further = query_of(asked().further(row))
    assert further == {"provider": "openai", "model": "m", "since": "24h", "by": "tenant"}
    again = asked(**further)
    assert query_of(again.further({"tenant": "t"}))["by"] == "type"
    whole = asked(by="tenant", tenant="t", type="k", provider="p", model="m")
    assert whole.further({"tenant": "t"}) == ""
    assert query_of(asked(by="tenant").further({"tenant": ""})) == {}
    day = query_of(asked(by="day", since="30d").further({"day": date(2026, 1, 5)}))
    assert (day["since"], day["until"], day["by"]) == (
        "2026-01-05T00:00:00.000Z", "2026-01-06T00:00:00.000Z", "hour",
    )  # fmt: skip
    hour = asked(by="hour", **{one: day[one] for one in ("since", "until")})
    first = datetime(2026, 1, 5, 7, tzinfo=UTC)
    assert query_of(hour.further({"hour": first}))["until"] == "2026-01-05T08:00:00.000Z"
    assert hour.begins(first) == [first + timedelta(hours=n) for n in range(17)]
    assert query_of(hour.part(first, phase="queue"))["phase"] == "queue"
    assert moment(datetime(2026, 1, 5, 7)) == first  # noqa: DTZ001 - as ClickHouse gives it


values = st.none() | st.floats(0, 1e9)


@settings(max_examples=50)
@given(st.lists(st.tuples(values, values, values), max_size=40))
def test_what_is_drawn_stays_within_the_drawing_and_a_gap_stays_one(
    given_: list[tuple[float | None, ...]],
) -> None:
    steps = [
        Step(NOW + timedelta(hours=n), f"/{n}", "words", (("good", one[0]), ("bad", one[1])), one[2:])
        for n, one in enumerate(given_)
    ]  # fmt: skip
    picture = drawn(steps, said=str, when="%H", names=(("p50", "low"),))
    if not any(value for one in given_ for value in one):
        assert picture is None
        return
    assert picture is not None
    for mark in picture.marks:
        assert 0 <= mark.x <= WIDTH
        assert mark.x + mark.width <= WIDTH + 1
        assert mark.y >= 0
        assert mark.y + mark.height <= HEIGHT
    assert [one[2] for one in picture.touched] == [step.href for step in steps]
    known = sum(one[2] is not None for one in given_)
    (line,) = picture.lines
    points = [point for piece in line.pieces for point in piece.split()]
    assert len(points) + len(line.points) == known


def test_sql_to_copy_has_its_parameters_in_their_places() -> None:
    condition, parameters = period(NOW, only={"tenant": "o'brien\\", "model": "m"})
    text = spelled(f"\n        SELECT 1\n        WHERE {condition} LIMIT {{n:UInt32}}\n", {
        **parameters, "n": 3,
    })  # fmt: skip
    assert text == (
        f"SELECT 1\nWHERE 1 AND tenant = 'o\\'brien\\\\' AND {DIMENSIONS['model']} = 'm' AND "
        f"started_at >= fromUnixTimestamp64Milli({int(NOW.timestamp() * 1000)}) LIMIT 3"
    )
    listed = spelled("{a:Array(String)}, {d:Date}, {t:Bool}, {x:Decimal(9, 2)}", {
        "a": ["x", "y'"], "d": date(2026, 1, 5), "t": True, "x": Decimal("1.5"),
    })  # fmt: skip
    assert listed == r"['x', 'y\''], '2026-01-05', true, '1.5'"
    with pytest.raises(KeyError):
        spelled("{nobody:String}", {})
