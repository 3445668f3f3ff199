"""The console in chromium: `make test-browser`, on the data of a run.

No page may write to the browser's console, ask another host, or fail axe-core's rules. With
CONSOLE_PICTURES=DIR pictures of the pages are kept there.
"""

import re
import time
from typing import Any

import pytest

from tests.browser.conftest import THOUSAND, TWENTY
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
    "/", "/letters", "/letters/rows", "/plans", "/intents", "/intents?id={intent}", "/costs",
    "/costs?by=tenant,type", "/latency", "/latency?by=tenant&then=type&phase=provider",
    "/providers", "/tail", "/alerts", "/settings", "/doctor", "/login", "/work", "/audit",
)  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_each_page_is_clean(
    browser: Any, axe: Any, site: Site, size: dict[str, int], scheme: str
) -> None:
    with opened(browser, site, viewport=size, color_scheme=scheme) as context:
        page = context.new_page()
        enter(page, site)
        letter = f"/letters/rows?tenant={site.case.name}&state=all"
        page.goto(letter)
        one = page.locator("tbody tr td:nth-child(3) a").first.get_attribute("href")
        for path in (*PAGES, letter, one):
            page.goto(path.format(intent=f"{site.case.name}-1041"))
            if size is DESK:
                name = re.sub(r"\W+", "-", path.split("?")[0].strip("/")[:20]) or "now"
                picture(page, f"{name}-{scheme}")
            assert_clean(page, axe, path)


def test_the_way_from_the_red_card_to_the_replayed_thousand(
    browser: Any, axe: Any, site: Site
) -> None:
    """What it took and cost is printed: `pytest -s`."""
    before = len(site.case.calls())
    with opened(browser, site, viewport=DESK) as context:
        page = context.new_page()
        enter(page, site)
        eventually(lambda: page.locator(".verdict").inner_text(), lambda text: "you." in text)
        card = page.locator(".card", has_text="1,000 dead letters")
        eventually(card.count, lambda count: count == 1)
        card.locator(".button").click()
        assert "cause=c-" in page.url
        page.get_by_role("button", name="Plan a replay of all 1,000 that match").click()
        page.get_by_label(re.compile("Why")).fill("the provider is well again")
        assert_clean(page, axe, "a plan")
        picture(page, "plan-light")
        began = time.monotonic()
        page.get_by_role("button", name="Replay 1,000 dead letters").click()
        run = page.locator("#run")
        eventually(
            run.inner_text, lambda text: "The run is done: 1,000 of 1,000" in text, within_s=180
        )
        sent_s = time.monotonic() - began
        assert "the provider is well again" in run.inner_text()
        assert_clean(page, axe, "a run")
        picture(page, "run-light")
        mine = f"/letters?tenant={site.case.name}&type={THOUSAND}"

        def resolved() -> str:
            page.goto(f"{mine}&state=resolved")
            return str(page.locator("main").inner_text())

        eventually(resolved, lambda text: "1,000 dead letters of" in text, within_s=180)
        ended_s = time.monotonic() - began
        print(f"\n1,000 were published in {sent_s:.1f} s, and had ended in {ended_s:.1f} s")
        page.goto("/")
        eventually(card.count, lambda count: count == 0)
    called = [one for one in site.case.calls()[before:] if one["status"] == 200]
    assert len(called) == 1_000, "each was replayed once"


def test_the_same_way_without_javascript(browser: Any, site: Site) -> None:
    with opened(browser, site, viewport=DESK, java_script_enabled=False) as context:
        page = context.new_page()
        enter(page, site)
        for path in PAGES:
            page.goto(path.format(intent=f"{site.case.name}-1041"))
            assert page.locator("h1").count() == 1, path
        page.goto(f"/letters?tenant={site.case.name}&type={TWENTY}")
        page.get_by_role("button", name=re.compile("Plan a replay of all")).click()
        page.get_by_label(re.compile("Why")).fill("the provider is well again")
        page.get_by_role("button", name=re.compile("Replay 20 dead letters")).click()
        begun = page.url

        def done() -> bool:
            page.goto(begun)
            return "The run is done: 20 of 20" in page.locator("#run").inner_text()

        eventually(done, bool, within_s=60)
        assert "the provider is well again" in page.locator("#run").inner_text()


def test_no_link_is_dead(browser: Any, site: Site) -> None:
    with opened(browser, site) as context:
        enter(context.new_page(), site)
        found = crawled(context, site, "/", f"/letters/rows?tenant={site.case.name}&state=all")
    assert {path: status for path, status in found.items() if status != 200} == {}
    assert len(found) > 40, sorted(found)


def test_eight_tabs_are_all_live_and_every_other_page_still_opens(browser: Any, site: Site) -> None:
    with opened(browser, site, viewport=DESK) as context:
        pages = [context.new_page() for _ in range(8)]
        for page in pages:
            page.goto("/", wait_until="domcontentloaded")
        first = pages[-1].locator("#live time").last
        before = first.get_attribute("datetime")
        eventually(lambda: first.get_attribute("datetime") != before, bool, within_s=30)
        pages[-1].goto("/letters")
        assert "Dead letters" in pages[-1].title()


def test_keys_open_pages_and_do_nothing_in_fields(browser: Any, axe: Any, site: Site) -> None:
    with opened(browser, site, viewport=DESK) as context:
        page = context.new_page()
        page.goto("/")
        page.keyboard.press("g")
        page.keyboard.press("d")
        page.wait_for_url("**/letters")
        page.keyboard.press("/")
        page.keyboard.type("gn?j")
        assert page.url.endswith("/letters")
        assert page.locator("input[type=search]").input_value() == "gn?j"
        page.keyboard.press("Control+k")
        page.keyboard.type("prov")
        assert_clean(page, axe, "the palette")
        page.keyboard.press("Enter")
        page.wait_for_url("**/providers")
        page.keyboard.press("Control+k")
        page.keyboard.type(f"{site.case.name}-1041")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/intents?id={site.case.name}-1041")


def test_keys_go_from_row_to_row_and_can_be_switched_off(
    browser: Any, axe: Any, site: Site
) -> None:
    with opened(browser, site, viewport=DESK) as context:
        page = context.new_page()
        page.goto(f"/letters/rows?tenant={site.case.name}&state=all")
        third = page.locator("tbody tr").nth(2)
        for key in ("j", "j", "j", "j", "k"):
            page.keyboard.press(key)
        assert third.evaluate("row => row === document.activeElement")
        wanted = third.locator("a").first.get_attribute("href")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**{wanted}")
        page.keyboard.press("?")
        assert page.get_by_role("dialog").is_visible()
        assert_clean(page, axe, "the keys")
        page.get_by_label(re.compile("Keys without Ctrl")).uncheck()
        page.keyboard.press("Escape")
        page.reload()
        page.keyboard.press("?")
        assert page.get_by_role("dialog").count() == 0
        page.get_by_role("button", name="Keys").click()
        assert page.get_by_role("dialog").is_visible()


def test_the_tail_stands_still_while_one_reads_and_goes_on_after(browser: Any, site: Site) -> None:
    with opened(browser, site, viewport={"width": 800, "height": 300}) as context:
        page = context.new_page()
        page.goto("/tail")
        state = page.locator("#state")
        eventually(lambda: page.locator("tbody tr").count(), lambda count: count > 20)
        page.evaluate("scrollTo(0, 200)")
        eventually(state.inner_text, lambda text: text == "paused")
        page.evaluate("scrollTo(0, 0)")
        eventually(state.inner_text, lambda text: text == "live")
        page.keyboard.press(" ")
        assert state.inner_text() == "paused"
        page.keyboard.press(" ")
        assert state.inner_text() == "live"
