"""The console's pages on a running stack: from the red card to the replayed dead letters."""

import asyncio
import csv
import html
import io
import re
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import urlsplit

import pytest

from hybrid.console.views import usd
from schemas.base import format_time
from schemas.vocabulary import LogEvent
from streams.bill import costs
from streams.bill.dimensions import Which
from streams.store.clickhouse import ClickHouse
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually, soon
from tests.integration.visiting import OWN, Visitor, shape_of, sign_in, visit

pytestmark = pytest.mark.integration

HOSTILE = "<script>alert(1)</script>"


def test_from_the_causes_to_the_replayed_dead_letters_without_javascript(
    stack: RunningStack,
) -> None:
    stack.set_faults({"openai": {"always": "400"}, "azure": {"always": "400"}})
    case = Case(stack)
    hostile = {"user_id": HOSTILE, "tenant": case.name, "metadata": {HOSTILE: HOSTILE}}
    case.publish(*(case.intent({HOSTILE: HOSTILE}, **hostile) for _ in range(4)))
    case.wait(4)
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    mine = f"/letters?tenant={case.name}"

    async def scene(visitor: Visitor, links: list[str]) -> None:
        seen = await visitor.get(mine)
        assert "4 dead letters</a> of 1 cause;" in seen
        assert f"hybrid dlq causes --tenant {case.name} --state open" in seen
        assert 'action="/plans"' not in seen  # a viewer has no button
        await sign_in(visitor, links)
        await one_is_dismissed_and_reopened(visitor)
        path, plan = await visitor.send(await visitor.get(mine), "/plans")
        assert re.fullmatch(r"/plans/p-[0-9a-f]{12}", path)
        assert "4 dead letters will be replayed, of 4 that match" in plan
        assert "sha256" in plan
        await visitor.send(plan, f"{path}/run", why="fixed", rate="", max_usd="")
        done = await soon(lambda: visitor.get(path), lambda page: "The run is done" in page)
        assert "4 of 4 were published again" in done
        assert "fixed" in done
        await soon(lambda: visitor.get(mine), lambda page: "No dead letter is like that" in page)
        resolved = await soon(
            lambda: visitor.get(f"{mine}&state=resolved"), lambda page: "4 dead letters</a>" in page
        )
        assert HOSTILE not in resolved
        assert path in await visitor.get("/plans")

    async def one_is_dismissed_and_reopened(visitor: Visitor) -> None:
        page = await visitor.get(f"/letters/rows?tenant={case.name}")
        identifier = re.findall(r'href="/letters/([0-9a-f-]{36})"', page)[0]
        one = await visitor.get(f"/letters/{identifier}")
        assert HOSTILE not in one
        assert "--content shows them" in one
        asked = await visitor.get(f"/letters/dismiss?id={identifier}")
        _, after = await visitor.send(asked, "/letters/dismiss", why="campaign is over")
        assert "dismissed" in after
        assert "3 dead letters</a> of" in await visitor.get(mine)
        again = await visitor.get(f"/letters/reopen?id={identifier}")
        await visitor.send(again, "/letters/reopen")
        assert "4 dead letters</a> of" in await visitor.get(mine)

    said = visit(stack.settings, stack.stack.addresses()["metrics"], scene)
    acts = [one["action"] for one in said if one["event"] is LogEvent.OPERATOR_ACTED]
    assert acts == ["signed_in", "dismissed", "reopened", "planned", "run"]
    assert {one["by"] for one in said} == {"ann@host (console)"}


def test_work_is_paused_resumed_and_cancelled_on_the_page_as_by_the_command(
    stack: RunningStack,
) -> None:
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    case = Case(stack)
    addresses = stack.stack.addresses()["metrics"]

    async def scene(visitor: Visitor, links: list[str]) -> None:
        seen = await visitor.get("/work")
        assert "/work/pause" not in seen  # a viewer has no button
        async with visitor.client.post("/work/pause", data={"what": "all"}, headers=OWN) as answer:
            assert answer.status == 403
        await sign_in(visitor, links)
        work = await visitor.get("/work")
        wrong = {"what": "provider", "name": "nobody"}
        hidden = re.findall(r'name="form_token" value="([^"]+)"', work)[0]
        data = {"form_token": hidden, **wrong}
        async with visitor.client.post("/work/pause", data=data, headers=OWN) as answer:
            assert (answer.status, "no such provider" in await answer.text()) == (400, True)
        _, after = await visitor.send(
            work, "/work/pause", what="tenant", name=case.name, why="they asked"
        )
        assert f"tenant {case.name} is paused until" in after
        await asyncio.to_thread(case.publish, *(case.intent(tenant=case.name) for _ in range(6)))
        asked = f"/work/cancel?tenant={case.name}"
        sure = await soon(lambda: visitor.get(asked), lambda page: "Cancel 6 intents" in page)
        assert not case.calls()
        alone = await visitor.get(f"/work/cancel?id={case.name}-1&tenant={case.name}")
        _, after = await visitor.send(alone, "/work/cancel", why="ordered twice")
        assert "cancelled 1" in after
        _, after = await visitor.send(sure, "/work/cancel", why="the campaign is over")
        assert "cancelled 5" in after
        nothing = await visitor.get(asked)
        assert "0 intents that wait or run" in nothing
        assert 'method="post" action="/work/cancel"' not in nothing
        async with visitor.client.get("/work/cancel") as answer:
            assert (answer.status, "which ones?" in await answer.text()) == (400, True)
        _, after = await visitor.send(await visitor.get("/work"), "/work/resume")
        assert f"tenant {case.name} goes on" in after
        told = await visitor.get("/audit")
        for what in (
            f"paused tenant {case.name}", f"resumed tenant {case.name}",
            f"cancelled {case.name}-1", f"cancelled all of tenant {case.name} that came in by",
        ):  # fmt: skip
            assert what in told
        assert told.count("ann@host (console)") >= 4
        assert "the campaign is over" in told

    said = visit(stack.settings, addresses, scene)
    acts = [one["action"] for one in said if one["event"] is LogEvent.OPERATOR_ACTED]
    assert acts == ["signed_in", "held", "cancelled", "cancelled", "let_go"]
    ended = case.wait(6).dead_letters
    assert {one["reason"] for found in ended.values() for one in found} == {"cancelled"}
    assert not case.calls()


def test_content_is_hidden_unless_it_is_configured_and_whoever_has_it_shown_is_on_record(
    stack: RunningStack,
) -> None:
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    case, secret = Case(stack), "the secret of the prompt"
    case.publish(
        case.intent({"text": f"{secret} [[sim:status=400]]"}, tenant=case.name),
        case.intent({"note": "[[sim:text=Dear REVEAL]]"}, tenant=case.name),
    )
    case.wait(2)
    good = f"/intents?id={case.name}-2&tenant={case.name}"

    async def pages(visitor: Visitor) -> tuple[str, str, str]:
        rows = await visitor.get(f"/letters/rows?tenant={case.name}")
        (identifier,) = set(re.findall(r'href="/letters/([0-9a-f-]{36})"', rows))
        return rows, f"/letters/{identifier}", await visitor.get(f"/letters/{identifier}")

    async def hidden(visitor: Visitor, links: list[str]) -> None:
        await sign_in(visitor, links)
        rows, path, letter = await pages(visitor)
        story = await visitor.get(good)
        for page in (rows, letter, story):
            assert secret not in page
            assert "REVEAL" not in page
            assert "/content" not in page
        token = re.findall(r'name="form_token" value="([^"]+)"', letter)[0]
        for action in (f"{path}/content", "/intents/content"):
            data = {"form_token": token, "id": f"{case.name}-2"}
            async with visitor.client.post(action, data=data, headers=OWN) as answer:
                text = await answer.text()
                assert (answer.status, secret in text) == (403, False)
                assert "HYBRID_CONSOLE_CONTENT" in text

    async def allowed(visitor: Visitor, links: list[str]) -> None:
        _, path, letter = await pages(visitor)
        assert "/content" not in letter  # a viewer has no button
        async with visitor.client.post(f"{path}/content", headers=OWN) as answer:
            assert answer.status == 403
        await sign_in(visitor, links)
        _, path, letter = await pages(visitor)
        assert secret not in letter
        _, shown = await visitor.send(letter, f"{path}/content")
        assert secret in shown
        _, shown = await visitor.send(await visitor.get(good), "/intents/content")
        assert "Dear REVEAL" in shown
        told = await visitor.get("/audit")
        assert f"had the content of dead letter {path.rpartition('/')[2]} shown" in told
        assert f"had the content of result {case.name}-2 shown" in told

    visit(stack.settings, [], hidden)
    shows = stack.settings.model_copy(update={"hybrid_console_content": True})
    said = visit(shows, [], allowed)
    acts = [one["action"] for one in said if one["event"] is LogEvent.OPERATOR_ACTED]
    assert acts == ["signed_in", "revealed", "revealed"]


def test_every_link_leads_somewhere(stack: RunningStack) -> None:
    async def scene(visitor: Visitor, links: list[str]) -> None:
        await sign_in(visitor, links)
        seen, todo = set[str](), ["/"]
        while todo:
            path = todo.pop()
            seen.add(path)
            async with visitor.client.get(path) as answer:
                text = await answer.text()
                assert answer.status == 200, f"{path}: {answer.status} {text[:500]}"
                assert "Traceback" not in text
            for found in re.findall(r'(?:href|src|hx-get)="(/[^"]*)"', text):
                other = found.replace("&amp;", "&")
                if shape_of(other) not in {shape_of(one) for one in [*seen, *todo]}:
                    todo.append(other)
        assert {"/", "/letters", "/plans", "/costs", "/latency"} <= seen
        assert {urlsplit(one).path for one in seen} >= {"/costs/focus.csv", "/latency.csv"}

    visit(stack.settings, stack.stack.addresses()["metrics"], scene)


def test_what_it_cost_and_where_the_time_went_as_the_commands_say(stack: RunningStack) -> None:
    case = Case(stack)
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    case.publish(*(case.intent(tenant=case.name) for _ in range(6)))
    case.wait(6)
    store = ClickHouse(stack.settings)
    only: Which = {"since": None, "only": {"tenant": case.name}}
    eventually(  # not only that they have begun
        lambda: [one["successes"] for one in costs.report(store, by=("tenant",), **only).named()],
        lambda ended: ended == [6],
    )
    eventually(
        lambda: [row[1] for row in costs.latency(store, by=(), phases=("total",), **only).rows],
        lambda ended: ended == [6],
    )
    mine = f"tenant={case.name}&since=2h"

    async def scene(visitor: Visitor, _links: list[str]) -> None:
        (spent,) = costs.report(store, by=("tenant",), **only).named()
        page = await visitor.get(f"/costs?{mine}&by=tenant")
        assert f"{usd(spent['cost_usd'])} was spent for 6 calls" in page
        assert f"hybrid costs report --by tenant --tenant {case.name} --since 2h" in page
        shown = page.partition('<pre id="sql" tabindex="0">')[2].partition("</pre>")[0]
        statement = html.unescape(shown).split(";")[0]
        assert store.rows(statement)[1][0][0] == case.name  # it can be run as it stands
        rows = list(csv.DictReader(io.StringIO(await visitor.get(f"/costs.csv?{mine}&by=tenant"))))
        assert [(one["calls"], one["cost_usd"]) for one in rows] == [("6", spent["cost_usd"])]
        page = await visitor.get(f"/latency?{mine}&by=tenant")
        assert "Half of the 6 completed intents took" in page
        rows = list(csv.DictReader(io.StringIO(await visitor.get(f"/latency.csv?{mine}"))))
        assert {one["phase"] for one in rows} == {*costs.PHASES, "total"}
        until = format_time(datetime.now(UTC))
        focus = await visitor.get(f"/costs/focus.csv?since=2h&until={until}")
        billed = [
            one for one in csv.DictReader(io.StringIO(focus)) if one["SubAccountId"] == case.name
        ]
        assert sum(Decimal(one["BilledCost"]) for one in billed) == Decimal(spent["cost_usd"])

    try:
        visit(stack.settings, [], scene)
    finally:
        store.close()
