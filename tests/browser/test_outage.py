"""The console in chromium while a provider is out, and while ClickHouse is: `make test-browser`."""

import re
from typing import Any

import pytest

from tests.browser.visiting import (
    DESK,
    PHONE,
    Site,
    assert_clean,
    crawled,
    enter,
    opened,
    picture,
)
from tests.integration.driving import eventually

#: The first test starts two stacks and three consoles.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

PAGES = (
    "/", "/letters", "/letters/rows", "/plans", "/intents?id={intent}", "/costs", "/latency",
    "/providers", "/tail", "/alerts", "/settings", "/doctor", "/work", "/audit",
)  # fmt: skip


@pytest.mark.parametrize(
    ("size", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk, light", "phone, dark"]
)
def test_each_page_is_clean_while_a_provider_is_out(
    browser: Any, axe: Any, ill: Site, size: dict[str, int], scheme: str
) -> None:
    with opened(browser, ill, viewport=size, color_scheme=scheme) as context:
        page = context.new_page()
        enter(page, ill)
        for path in PAGES:
            page.goto(path.format(intent=f"{ill.case.name}-30"))
            name = path.split("?")[0].strip("/").replace("/", "-") or "now"
            picture(page, f"outage-{name}-{scheme}")
            assert_clean(page, axe, path)


def test_the_outage_is_told_with_what_happens_by_itself(browser: Any, ill: Site) -> None:
    with opened(browser, ill, viewport=DESK) as context:
        page = context.new_page()
        enter(page, ill)
        card = page.locator(".card", has_text="Provider openai")
        eventually(card.count, lambda count: count == 1)
        said = card.inner_text()
        assert "openai is not called by 2 of 2 workers" in said
        assert "By itself\nwork goes on at the next provider, or waits" in said
        card.locator(".button").click()
        assert "Not all workers call openai" in page.locator(".sentence").first.inner_text()
        page.goto("/providers?since=1h&type=message_generation")
        said = page.locator("main").inner_text()
        assert "At 2 workers: openai cannot be called, so it goes to azure, azure is called" in said
        assert re.search(r"openai\s+worker-\d\s+closed\s+open\s+server error", said), said
        assert page.locator("svg.chart rect.bad").count() == 2
        assert re.search(r"open, open\s+in \d+ s, in \d+ s", said), said


def test_each_page_says_what_it_can_while_clickhouse_is_away(
    browser: Any, axe: Any, blind: Site
) -> None:
    with opened(browser, blind, away=True, viewport=DESK) as context:
        page = context.new_page()
        enter(page, blind)
        for path in PAGES:
            page.goto(path.format(intent=f"{blind.case.name}-30"))
            assert_clean(page, axe, path)
        page.goto("/costs")
        assert "ClickHouse" in page.locator("main").inner_text()
        assert "hybrid doctor" in page.locator("main").inner_text()
        page.goto("/")
        page.locator(".card", has_text="Provider openai").wait_for()
        assert "What was spent today is not known: –." in page.locator("#live").inner_text()
        page.goto("/letters?reason=deadline")
        assert "3 dead letters" in page.locator(".sentence").first.inner_text()


def test_no_link_is_dead_in_an_outage(browser: Any, ill: Site, blind: Site) -> None:
    for site, allowed in ((ill, {200}), (blind, {200, 503})):
        with opened(browser, site) as context:
            enter(context.new_page(), site)
            found = crawled(context, site, "/", "/letters")
        assert {path: one for path, one in found.items() if one not in allowed} == {}
        away = {path.partition("?")[0] for path, status in found.items() if status == 503}
        assert away <= {"/costs", "/costs.csv", "/latency", "/latency.csv"}, away
