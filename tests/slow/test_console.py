"""The console's pages on a running stack: from the red card to the replayed dead letters."""

import csv
import html
import io
import re
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest

from hybrid.console.views import usd
from schemas.base import format_time
from schemas.vocabulary import LogEvent
from streams.bill import costs
from streams.bill.dimensions import Which
from streams.store.clickhouse import ClickHouse
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually, soon
from tests.integration.visiting import Visitor, sign_in, visit

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
                if _shape(other) not in {_shape(one) for one in [*seen, *todo]}:
                    todo.append(other)
        assert {"/", "/letters", "/plans", "/costs", "/latency"} <= seen
        assert {urlsplit(one).path for one in seen} >= {"/costs/focus.csv", "/latency.csv"}

    visit(stack.settings, stack.stack.addresses()["metrics"], scene)


#: Links that differ in an id only are of one kind: one of them is followed.
IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[pc]-[0-9a-f]{12}|[0-9a-f]{10}(-\d+)?")


def _shape(path: str) -> str:
    if path.startswith(("/costs", "/latency")):  # filters make thousands of them
        asked = urlsplit(path)
        return f"{asked.path} {sorted(set(parse_qs(asked.query)) & {'by', 'until', 'phase'})}"
    return IDS.sub("X", path)


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
