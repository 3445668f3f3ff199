"""What the console's pages say, and how often they ask."""

import asyncio
import re
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.clock import ManualClock
from hybrid.checking import Check
from hybrid.console.cards import MOST_CARDS, cards_of
from hybrid.console.filters import Filters
from hybrid.console.fresh import BLINK_S, Fresh, Kept, Seen, sentence_of
from hybrid.console.live import Hub, Streams, event_of
from hybrid.console.pages.choosing import read
from hybrid.console.pages.costs import CAUSES, Spent, _beside, _charts, _rows
from hybrid.console.pages.latency import MEANING, Took, _chart, _ms
from hybrid.console.tail import Happened, Tail
from hybrid.console.tail import Newest as NewestEvents
from hybrid.console.views import Views, link, usd
from hybrid.errors import HybridError, UsageError
from hybrid.standing import Provider, Standing, Worker
from schemas.base import format_time
from schemas.events import Alert
from schemas.operations import HoldRecord, PlanRecord
from schemas.settings import Settings
from schemas.vocabulary import LetterState
from streams.alerts.standing import standing_alerts
from streams.bill.budgets import BudgetLevel
from streams.bill.costs import Table
from streams.messages.key_ring import KeyFileError
from streams.publishing.dead_letters import Selection
from streams.stories.story import Bill
from streams.triage.book import Book
from streams.triage.cancelling import Standing as Waiting
from streams.triage.causes import Causes
from streams.triage.deeds import Deed
from streams.triage.overview import Newest, Overview, Row
from tests.builders import NOW, a_letter

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e\x1b[2J"


class Reader:
    is_operator, may_see, has_session, who, form_token = True, True, True, HOSTILE, "t"


def shown(template: str, **values: Any) -> str:
    common = {
        "title": "T", "command": HOSTILE, "again_s": 0, "path": "/", "reader": Reader(), "heading": "",
    }  # fmt: skip
    return Views(name=HOSTILE, clock=ManualClock(NOW)).part(template, **common | values)


def an_alert(**changes: Any) -> Alert:
    values = {"alert_id": "a", "name": "call_latency", "message": "slow", "raised_at": NOW}
    return Alert.model_validate(values | changes)


def a_standing(**changes: Any) -> Standing:
    return Standing(NOW, **changes)


def a_worker(*providers: Provider, ready: bool = True) -> Worker:
    return Worker("http://w", ready, 0, 0, 1, providers)


def a_hold(**changes: Any) -> HoldRecord:
    return HoldRecord(**{"what": "tenant", "name": "acme", "held": True, "at": NOW} | changes)


def causes_of(*letters: Any) -> Causes:
    found = Causes()
    for one in letters:
        found.add(one, "")
    return found


def a_question(**more: str) -> Any:
    return read("/costs", {"tenant": HOSTILE} | more, now=NOW, by="tenant,model")


#: Hours of which something is known, with one between them of which nothing is.
SEVEN, NINE = (NOW.replace(hour=hour, minute=0, second=0, microsecond=0) for hour in (7, 9))


def costs_page(**changes: Any) -> str:
    row = dict.fromkeys(("cause", "provider", "model", "tenant", "outcome"), HOSTILE)
    row |= dict.fromkeys(("calls", "successes", "input_tokens", "output_tokens", "unpriced"), 7)
    row |= dict.fromkeys(("cost_usd", "wasted_usd", "uncertain_usd", "upper_usd"), "2.5")
    row |= {"orphaned": 3}
    asked, over_time = a_question(), {SEVEN: row, NINE: {**row, "unpriced": 0}}
    table = Table([*row], [tuple(row.values())])
    spent = Spent(row, {**row, "cost_usd": "2"}, _rows(table, asked), 1, [row], [row], over_time)
    chart, priceless = _charts(asked, spent)
    month = {"seen": Seen(None, None, HOSTILE), "so_far": None, "whole": None, "made_of": []}
    return shown("costs.html", **{
        "asked": asked, "filters": ("tenant",), "dimensions": ["tenant"], "spent": spent,
        "beside": _beside(spent.total, spent.before), "long": timedelta(days=1), "earlier": "/costs",
        "chart": chart, "priceless": priceless, "steps": [(NOW, "/costs", row)], "month": month,
        "causes": CAUSES, "csv": "/c", "focus": "/f", "sql": [HOSTILE], "as_of": NOW, "width": 9,
    } | changes)  # fmt: skip


def latency_page(**changes: Any) -> str:
    row = {"tenant": HOSTILE, "model": "", "phase": "queue", "count": 4}
    row |= {"p50_ms": 20, "p95_ms": 1_500, "p99_ms": 61_000}
    shown_row = {**row, "keys": [HOSTILE, ""], "href": "/x", "costs": "/y", "bar": 3}
    whole = {"queue": row, "total": row}
    took = Took(whole, [shown_row], 1, {SEVEN: row, NINE: row})
    asked = a_question(since=format_time(NOW - timedelta(hours=3)))
    return shown("latency.html", **{
        "asked": asked, "filters": ("tenant",), "dimensions": ["tenant"], "phases": [("queue", "/", True)],
        "meaning": MEANING, "phase": "queue", "whole": whole, "slowest": row, "rows": took.rows, "more": 1,
        "chart": _chart(asked, took, "queue"), "unknown_to": [HOSTILE], "csv": "/c", "sql": [HOSTILE],
        "as_of": NOW, "width": 9, "ms": _ms,
    } | changes)  # fmt: skip


def test_what_was_spent_is_told_beside_the_time_before_and_what_is_not_known_is_a_dash() -> None:
    page = costs_page()
    assert "$2.50 was spent for 7 calls" in page
    assert "That is 25 % more than in" in page
    assert "What this month will cost is –:" in page
    assert page.count('class="bad"') == 2, "all of both hours served nobody"
    assert page.count('<rect class="unsure"') == 1
    assert "08:00 UTC: no call" in page
    assert "Most of it:" in page
    assert _beside({"cost_usd": None}, {"cost_usd": "1"}) == ""
    assert _beside({"cost_usd": "1"}, {"cost_usd": None}) == ""
    assert _beside({"cost_usd": "1"}, {"cost_usd": "1.001"}) == "about as much as"
    assert _beside({"cost_usd": "0.5"}, {"cost_usd": "1"}) == "50 % less than"


def test_a_text_of_several_lines_has_them_and_is_text() -> None:
    page = costs_page(sql=["SELECT 1\nWHERE x = '<b>\x1b\r'", "SELECT 2"])
    assert "SELECT 1\nWHERE x = &#39;&lt;b&gt;\\x1b\\r&#39;;\n\nSELECT 2;</pre>" in page


def test_where_the_time_goes_is_a_sentence_and_a_part_that_is_not_known_is_a_dash() -> None:
    page = latency_page()
    assert "Half of the 4 completed intents took 20 ms at the most, 95 of 100 1.5 s" in page
    assert "99 of 100 1 min 1 s" in page
    assert page.count("<polyline") == 0, "between two hours is one of which nothing is known"
    assert page.count("<circle") == 6
    assert "The whole is – here" in page
    assert re.search(r"<td>backoff</td><td class=\"num\">0</td><td>–</td>", page)
    nobody = latency_page(whole={}, rows=[], chart=None, slowest=None)
    assert "No call is on record for that" in nobody
    calls = latency_page(
        whole={"queue": {**dict.fromkeys(("p50_ms", "p95_ms", "p99_ms"), 1), "count": 1}}
    )
    assert "How long whole intents took is not known (–)" in calls


def test_what_others_wrote_is_text_and_never_markup() -> None:
    letter = a_letter(
        dead_letter_id=HOSTILE, intent_id=HOSTILE, tenant=HOSTILE, type=HOSTILE,
        error_code=HOSTILE, error_message=HOSTILE, suggested_action=HOSTILE,
        attempts=[{"attempt_id": "a", "provider": HOSTILE, "attempt": 1, "error_class": "timeout"}],
    )  # fmt: skip
    row = Row((0, 1), letter, LetterState.OPEN)
    causes = causes_of(letter)
    found = Overview(Book(), causes, rows=[row], matching=1)
    filters = Filters.read({"tenant": HOSTILE, "type": HOSTILE}, now=NOW)
    lists = {"states": [], "reasons": [], "filters": filters}
    one = {"cause": causes.sorted()[0], "words": {"tenant": HOSTILE}, "whole": True}
    cards = cards_of(
        now=NOW, standing=None, alerts=standing_alerts([(NOW, an_alert(message=HOSTILE))]),
        causes=causes.sorted(), budgets=[],
    )  # fmt: skip
    pages = [
        shown("letters.html", seen=Seen(found, NOW, HOSTILE), causes=[one], more_causes=0, can_succeed=1, at=NOW, **lists),
        shown("rows.html", found=found, older="", newest="", **lists),
        shown("letter.html", reveals=True, letters=[{"row": row, "json": HOSTILE, "words": {"id": HOSTILE}}]),
        shown("dismiss.html", found=found, words={"tenant": HOSTILE, "until": "x"}, reopens=False),
        shown("now.html", cards=cards, standing=None, letters=None, budgets=[], flow=None, hour_usd=None, day_usd=None, providers=[], unknown_parts={HOSTILE: HOSTILE}, as_of=None),
        shown("alerts.html", seen=Seen([], NOW), alerts=standing_alerts([(NOW, an_alert(message=HOSTILE, subject=HOSTILE))]), on=1, posts=True, webhook=Seen(None, None, HOSTILE), said=HOSTILE),
        shown("intent.html", reveals=True, identifier=HOSTILE, tenant=HOSTILE, problem=HOSTILE, story=None),
        shown("tail.html", events=[Happened(NOW, *[HOSTILE] * 5)], seen=1, problem=HOSTILE),
        shown("doctor.html", seen=Seen([], NOW), checks=[Check(HOSTILE, "ok", HOSTILE, HOSTILE)], score=1, bad=0),
        shown("settings.html", rows=[dict.fromkeys(("name", "value", "source", "default"), HOSTILE)], count=1, changed=False),
        shown("work.html", seen=Seen(a_standing(paused=()), NOW), paused=[{"hold": a_hold(name=HOSTILE, why=HOSTILE, by=HOSTILE), "named": HOSTILE}], said=HOSTILE, providers=[HOSTILE], types=[]),
        shown("cancel.html", words={"tenant": HOSTILE, "until": "x"}, found=Waiting(open={HOSTILE}), sentences=[HOSTILE], can_end=True),
        shown("content.html", documents=[HOSTILE]),
        shown("audit.html", seen=Seen([], NOW), deeds=[Deed(NOW, *[HOSTILE] * 5)], more=0),
        costs_page(),
        latency_page(),
        shown("login.html", code=HOSTILE, problem=HOSTILE, takes_token=True),
        shown("problem.html", sentence=HOSTILE, code=503),
    ]  # fmt: skip
    for page in pages:
        scripts = re.findall(r"<script[^>]*>", page)
        assert all(' src="/static/' in one for one in scripts)
        assert "<img" not in page
        assert "onerror=alert(2)>" not in page
        assert "\u202e" not in page
        assert "\x1b" not in page
        assert "alert(1)" in page  # it is there to be read


def test_a_plans_page_says_who_made_it_as_far_as_its_record_does() -> None:
    def page(by: str) -> str:
        plan = PlanRecord(
            plan_id="p-1", made_at=NOW, by=by, expires_at=NOW, sha256="", count=1, parts=1
        )
        state = {"plan": plan, "run": None, "problem": "", "is_here": False, "can_begin": True}
        return shown("plan.html", seen=Seen(None, NOW), lines=[], shown=state)

    assert re.search(r"<p>Made .+ by &lt;script&gt;alert\(1\)", page(HOSTILE))
    assert "<img" not in page(HOSTILE)
    assert re.search(r"<p>Made .+ by –\. It is a frozen list", page(""))


def test_what_is_not_known_is_a_dash_and_never_nothing_spent() -> None:
    assert [usd(one) for one in (None, "", "0", "0.00312", Decimal(1234))] == [
        "–", "–", "$0", "$0.0031", "$1,234.00",
    ]  # fmt: skip
    values = {"cards": [], "standing": None, "letters": None, "budgets": None, "flow": None}
    values |= {"hour_usd": None, "day_usd": None}
    page = shown(
        "now_live.html", **values, providers=[], unknown_parts={"x": "Kafka is away"}, as_of=None
    )
    assert "Nothing that is seen needs you; not all is seen." in page
    assert "What was spent today is not known: –." in page
    assert "x: Kafka is away" in page
    quiet = shown("now_live.html", **values, providers=[], unknown_parts={}, as_of=NOW)
    assert "Nothing needs you." in quiet


def test_what_the_day_comes_to_is_said() -> None:
    values = {"cards": [], "standing": None, "letters": None, "budgets": None, "flow": None}
    page = shown(
        "now_live.html", **values, hour_usd=Decimal(2), day_usd=Decimal(22), providers=[],
        unknown_parts={}, as_of=NOW,
    )  # fmt: skip
    assert "The last hour cost $2.00; at that rate the day comes to $22.00." in page


def test_cards_are_of_what_is_bad_then_of_what_is_dear_and_five_at_the_most() -> None:
    shut = Provider("openai", available=False, in_flight=0, resting_keys=0)
    level = BudgetLevel(
        tenant="acme", per="day", period="d", spent_usd=Decimal(8), limit_usd=Decimal(10),
        state="alert", opens_at=NOW, then="defer",
    )  # fmt: skip
    causes = causes_of(
        *(a_letter(error_code=f"code_{letter}", spent_usd=str(place))
          for place, letter in enumerate("abcdef"))
    )  # fmt: skip
    said = [
        (NOW, an_alert(name="provider_failing", subject="openai", raised_at=NOW - timedelta(hours=1))),
        (NOW, an_alert(name="dead_letter_rate")),
    ]  # fmt: skip
    cards = cards_of(
        now=NOW,
        standing=a_standing(workers=(a_worker(shut),)),
        alerts=standing_alerts(said),
        causes=causes.sorted(),
        budgets=[level],
    )
    assert len(cards) == MOST_CARDS
    assert [one.usd for one in cards] == [5, 4, 3, 2, 1]
    none = cards_of(
        now=NOW, standing=a_standing(workers=(a_worker(shut, ready=False),)), alerts=[],
        causes=causes.sorted(), budgets=[],
    )  # fmt: skip
    assert none[0].title == "No work is done", "however much money the others are about"
    assert sentence_of(KeyFileError("a file is wrong")) == "a file is wrong"
    few = cards_of(
        now=NOW, standing=a_standing(workers=(a_worker(shut),)), alerts=standing_alerts(said),
        causes=[], budgets=[level],
    )  # fmt: skip
    # The alert of the provider is said by how the workers see it, with the alert's beginning.
    assert [one.title for one in few] == ["Provider openai", "Budget of acme per day"]
    assert few[0].since == NOW - timedelta(hours=1)
    assert few[0].href == "/providers"


def test_the_card_of_what_differs_too_much_has_the_filter_that_its_letters_have() -> None:
    found = Causes(most=0)
    for word in ("one", "two"):
        found.add(a_letter(error_message=word, tenant="a b"), "")
    (cause,) = found.sorted()
    assert cause.words() == {"reason": "exhausted", "error_class": "timeout"}
    (card,) = cards_of(now=NOW, standing=None, alerts=[], causes=[cause], budgets=[])
    assert card.href == "/letters?reason=exhausted&error_class=timeout"
    assert card.command == "hybrid dlq plan --reason exhausted --error-class timeout"
    chosen = Filters.read(cause.words(), now=NOW).selection
    assert (chosen.reason, chosen.error_class, chosen.cause) == ("exhausted", "timeout", None)


def test_a_story_that_goes_on_asks_for_the_same_tenants_intent_again() -> None:
    record = SimpleNamespace(sources=("Kafka",), intent_id="i-1")
    story = SimpleNamespace(headline="It runs", is_over=False, bill=Bill(), notes=(), record=record)
    page = shown(
        "intent.html", reveals=False, identifier="i-1", tenant="acme", problem="", story=story, failed=False,
        facts=[], rows=[], width=1, json="", again_s=2,
    )  # fmt: skip
    assert 'hx-get="/intents?id=i-1&amp;tenant=acme"' in page


def test_what_was_wrong_with_the_tail_is_forgotten_when_its_topic_is_read_and_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = 0

    async def read(*_: Any, on_reading: Any, **__: Any) -> Any:
        nonlocal reads
        reads += 1
        if reads == 1:
            message = "Kafka is away"
            raise HybridError(message)
        on_reading()
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr("hybrid.console.tail.read_topic", read)

    async def scene() -> None:
        tail, seen = Tail(Settings(), clock=ManualClock(NOW)), []
        for number in (1, 2):
            while reads < number:
                tail.look()
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            seen.append(tail.problem)
        assert seen == ["Kafka is away", ""]
        await tail.close()

    asyncio.run(scene())


def test_an_alert_is_on_until_it_is_said_to_be_over() -> None:
    hour = timedelta(hours=1)
    first = an_alert(subject="m", raised_at=NOW)
    over = first.model_copy(update={"resolved": True})
    again = an_alert(subject="m", raised_at=NOW + 3 * hour)
    said = [(NOW + 3 * hour, again), (NOW, first), (NOW + hour, over), (NOW, an_alert(subject="n"))]
    on, other = sorted(standing_alerts(said), key=lambda one: one.alert.subject)
    assert (on.since, on.until, on.times) == (NOW + 3 * hour, None, 2)
    assert (other.until, other.times) == (None, 1)
    ended = standing_alerts(said[1:3])
    assert [(one.since, one.until) for one in ended] == [(NOW, NOW + hour)]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 20), max_size=30), st.integers(0, 5), st.integers(0, 20))
def test_the_newest_are_kept_and_whatever_is_older_is_on_the_next_page(
    ages: list[int], most: int, before: int
) -> None:
    rows = [
        Row((0, place), a_letter(failed_at=NOW - timedelta(hours=age)), LetterState.OPEN)
        for place, age in enumerate(ages)
    ]
    bound = ((NOW - timedelta(hours=before)).timestamp(), 0, 0)
    for limit in (None, bound):
        newest = Newest(most, before=limit)
        for row in rows:
            newest.add(row)
        wanted = sorted((one for one in rows if limit is None or one.key < limit),
                        key=lambda one: one.key, reverse=True)  # fmt: skip
        assert newest.rows() == wanted[:most]
        assert newest.left_out == max(0, len(wanted) - most)


def test_filters_are_the_commands_words_and_come_back_as_they_were() -> None:
    filters = Filters.read(
        {"tenant": "a b", "since": "1h", "nonsense": "x", "state": "open", "cause": ""}, now=NOW
    )
    assert filters.selection == Selection(
        tenant="a b", since=NOW - timedelta(hours=1), state=LetterState.OPEN
    )
    assert filters.arguments() == " --tenant 'a b' --since 1h --state open"
    assert filters.arguments(state=False) == " --tenant 'a b' --since 1h"
    assert link("/letters", filters.words) == "/letters?tenant=a+b&since=1h&state=open"
    assert Filters.read({}, now=NOW, state=LetterState.OPEN).selection.state is LetterState.OPEN
    assert Filters.read({"state": "all"}, now=NOW, state=LetterState.OPEN).selection == Selection()
    for wrong in ({"state": "wrong"}, {"reason": "<b>"}, {"since": "yesterday"}):
        with pytest.raises(UsageError):
            Filters.read(wrong, now=NOW)


def test_a_cause_is_a_filter_of_its_own_letters() -> None:
    letters = [a_letter(error_message=f"no answer within {n} s") for n in (1, 20)]
    letters.append(a_letter(error_message="something else"))
    cause = max(causes_of(*letters).sorted(), key=lambda one: one.count)
    selection = Selection(cause=cause.kind.id)
    assert [selection.is_of_cause(one) for one in letters] == [True, True, False]


def test_readers_ask_together_and_see_the_last_answer_when_the_next_one_fails() -> None:
    clock, asked = ManualClock(NOW), 0

    async def scene() -> None:
        gate = asyncio.Event()
        failure: list[Exception] = []

        async def ask() -> int:
            nonlocal asked
            asked += 1
            await gate.wait()
            if failure:
                raise failure[0]
            return asked

        fresh = Fresh(ask, clock=clock, keep_s=5)
        first = await fresh.get(wait_s=0)
        assert (first.value, bool(first.problem)) == (None, True)
        gate.set()
        assert [
            one.value for one in await asyncio.gather(*(fresh.get(wait_s=5) for _ in range(9)))
        ] == [1] * 9
        clock.advance(4)
        assert (await fresh.get(wait_s=5)).value == 1
        clock.advance(2)
        failure.append(HybridError("Kafka is away"))
        seen = await fresh.get(wait_s=5)
        assert (seen.value, seen.as_of, seen.problem) == (1, NOW, "Kafka is away")
        assert asked == 2
        failure.clear()
        fresh.forget()
        assert (await fresh.get(wait_s=5)).value == 3

    asyncio.run(scene())
    assert sentence_of(KeyError("a secret")) == "a defect, please report it (KeyError)"


def test_what_nobody_has_looked_at_for_long_is_waited_for_and_what_is_a_little_old_is_not() -> None:
    """The first page told of a stack that was not up yet, a minute after it was (seen)."""

    async def scene() -> None:
        clock, asked = ManualClock(NOW), 0

        async def ask() -> int:
            nonlocal asked
            asked += 1
            await asyncio.sleep(BLINK_S * 1.5)
            return asked

        fresh = Fresh(ask, clock=clock, keep_s=2)
        assert (await fresh.get(wait_s=5)).value == 1
        clock.advance(3)
        assert (await fresh.get(wait_s=5)).value == 1  # and the second is on its way
        while (await fresh.get(wait_s=0)).value == 1:
            await asyncio.sleep(0.01)
        clock.advance(60)
        assert (await fresh.get(wait_s=5)).value == 3

    asyncio.run(scene())


def test_the_same_question_of_many_tabs_is_asked_once_and_its_answer_is_good_for_a_while() -> None:
    async def scene() -> None:
        clock, asked, away = ManualClock(NOW), list[str](), HybridError("ClickHouse is away")
        kept = Kept(clock=clock, keep_s=10, most=2)

        def of(key: str) -> Any:
            async def ask() -> str:
                asked.append(key)
                await asyncio.sleep(0)
                if key == "wrong":
                    raise away
                return f"{key}{len(asked)}"

            return kept.get(key, ask)

        leaves = asyncio.ensure_future(of("a"))
        await asyncio.sleep(0)
        tabs = [asyncio.ensure_future(of("a")) for _ in range(8)]
        leaves.cancel()
        answers = await asyncio.gather(*tabs)
        assert asked == ["a"]
        assert {(one.value, one.as_of) for one in answers} == {("a1", NOW)}
        clock.advance(9)
        assert (await of("a")).as_of == NOW
        clock.advance(2)
        assert (await of("a")).value == "a2"
        for _ in range(2):  # what failed is asked anew
            with pytest.raises(HybridError):
                await of("wrong")
        assert asked == ["a", "a", "wrong", "wrong"]
        await of("b")
        await of("c")
        assert (await of("a")).value == "a7", "no more than two are kept"

    asyncio.run(scene())


def test_the_tail_has_the_newest_event_of_each_intent_and_no_more_than_it_shows() -> None:
    newest = NewestEvents(most=2)
    for intent, name in (("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")):
        newest.add(Happened(NOW, name, intent, "t", "k", "w"))
    assert [(one.intent_id, one.name) for one in newest.rows()] == [("c", "1"), ("a", "2")]
    assert newest.seen == 4


def test_many_who_look_cause_one_reading_a_tick_and_nobody_none() -> None:
    async def scene() -> None:
        clock, rendered = ManualClock(NOW), 0

        async def render() -> str:
            nonlocal rendered
            rendered += 1
            return f"state\n{min(rendered, 3)}"

        hub = Hub(render, clock=clock)
        seen: list[list[str]] = [[] for _ in range(8)]

        def reader(into: list[str]) -> Any:
            async def send(text: str) -> None:
                into.append(text)
                if len(into) == 3:
                    raise ConnectionResetError

            return hub.follow(send)

        ends = await asyncio.gather(*(reader(one) for one in seen), return_exceptions=True)
        assert all(isinstance(one, ConnectionResetError) for one in ends)
        assert [len(one) for one in seen] == [3] * 8
        assert seen[0][0] == "retry: 3000\ndata: state\ndata: 1\n\n"
        assert hub.ticks == rendered <= 5
        await asyncio.sleep(0)
        before = rendered
        for _ in range(20):
            await asyncio.sleep(0)
        assert rendered <= before + 1
        await hub.close()

    asyncio.run(scene())
    assert event_of("a\nb") == "retry: 3000\ndata: a\ndata: b\n\n"


def test_of_a_readers_streams_the_newest_go_on_and_nobody_elses_end() -> None:
    async def scene() -> None:
        streams, ended = Streams(most=2), list[str]()

        async def stream(name: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)

        tasks = []
        for reader, number in (("a", 1), ("b", 1), ("a", 2), ("a", 3), ("a", 4)):
            run = streams.run(reader, stream(f"{reader}{number}"))
            tasks.append(asyncio.create_task(run))
            for _ in range(3):
                await asyncio.sleep(0)
        await asyncio.wait({tasks[0], tasks[2]}, timeout=5)
        assert ended == ["a1", "a2"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        assert sorted(ended) == ["a1", "a2", "a3", "a4", "b1"]

        async def fails() -> None:
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await streams.run("c", fails())

    asyncio.run(scene())


def test_who_looks_at_what_cannot_be_rendered_is_let_go_to_ask_again() -> None:
    async def scene() -> None:
        first = True

        async def render() -> str:
            nonlocal first
            if not first:
                raise KeyError
            first = False
            return "state"

        hub, seen = Hub(render, clock=ManualClock(NOW)), list[str]()

        async def send(text: str) -> None:
            seen.append(text)

        await asyncio.wait_for(hub.follow(send), 5)
        assert len(seen) == 1
        await hub.close()

    asyncio.run(scene())


@pytest.mark.timeout(10)  # an event that stays set would have the loop do nothing else
def test_who_comes_when_nobody_looks_any_more_is_served_as_the_first_one_was() -> None:
    async def scene() -> None:
        rendered = 0

        async def render() -> str:
            nonlocal rendered
            rendered += 1
            return f"state {rendered}"

        async def send(text: str) -> None:
            seen.append(text)
            raise ConnectionResetError

        hub, seen = Hub(render, clock=ManualClock(NOW)), list[str]()
        for number in (1, 2, 3):
            with pytest.raises(ConnectionResetError):
                await hub.follow(send)
            assert len(seen) == number
            for _ in range(5):  # until the hub has seen that nobody looks
                await asyncio.sleep(0)
        assert len(set(seen)) == 3
        await hub.close()

    asyncio.run(scene())


def test_a_view_ends_now_at_the_latest() -> None:
    """A chart up to the year 2199 had 63,000 steps, and stopped the console for seconds."""
    found = read("/costs", {"since": "1h", "until": "2199-12-31"}, now=NOW, by="provider")
    assert found.until == NOW
