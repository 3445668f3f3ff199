"""The console in chromium: `make test-browser`.

No page may write to the browser's console, ask another host, or fail axe-core's rules. With
CONSOLE_PICTURES=DIR pictures of the pages are kept there.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="make test-browser installs it")
axe_module = pytest.importorskip("axe_playwright_python.sync_playwright")

from hybrid.stack.process import Child, free_port, hybrid_command  # noqa: E402
from tests.chaos.running import RunningStack  # noqa: E402
from tests.integration.driving import Case, eventually  # noqa: E402

pytestmark = pytest.mark.integration

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
PICTURES = os.environ.get("CONSOLE_PICTURES")
PHONE, DESK = {"width": 360, "height": 800}, {"width": 1440, "height": 900}
#: What is replayed with JavaScript, and without.
TYPES = {True: "message_generation", False: "content_planning"}
PAGES = (
    "/", "/letters", "/letters/rows", "/plans", "/intents", "/intents?id={intent}", "/costs",
    "/costs?by=tenant,type", "/latency", "/latency?by=tenant&then=type&phase=provider", "/providers", "/tail", "/alerts", "/settings", "/doctor", "/login",
)  # fmt: skip
#: Rules of WCAG 2.2 A and AA.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


class Site:
    """A console that runs, with something in it."""

    def __init__(self, address: str, link_file: Path, case: Case) -> None:
        self.address = address
        self.case = case
        self._link_file = link_file

    @property
    def link(self) -> str:
        return self._link_file.read_text().strip()


@pytest.fixture(scope="module")
def site(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("console")
    port, link_file = free_port(), folder / "link"
    case = Case(stack)
    failing = {"openai": {"always": "400"}, "azure": {"always": "400"}}
    stack.set_faults(failing)
    for kind in TYPES.values():
        case.publish(
            *(case.intent(tenant=case.name, user_id="<b>u</b>", type=kind) for _ in range(20))
        )
    case.wait(40)
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    case.publish(*(case.intent(tenant=case.name) for _ in range(5)))
    case.wait(45)
    metrics = [f"--metrics={one}" for one in stack.stack.addresses()["metrics"]]
    child = Child(
        "console",
        hybrid_command("console", "--port", str(port), "--link-file", str(link_file), *metrics),
        log_file=folder / "console.log",
        environment={**stack.stack.environment(), "HYBRID_CONSOLE_NAME": "test-eu"},
    )
    log = folder / "console.log"
    try:
        eventually(lambda: "console at" in log.read_text() or child.exit_status(), bool)
        assert child.exit_status() is None, child.tail(20)
        yield Site(f"http://127.0.0.1:{port}", link_file, case)
        assert "Traceback" not in log.read_text()
    finally:
        child.stop(within_s=20)


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Any]:  # noqa: ARG001 - playwright's loop leaves no room for another
    if not CHROMIUM:
        pytest.skip("no chromium: apt-get install chromium, or CHROMIUM=path")
    with sync_api.sync_playwright() as driver:
        chosen = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chosen
        chosen.close()


@contextmanager
def opened(browser: Any, site: Site, **options: Any) -> Iterator[Any]:
    """A window of its own; what goes wrong in it fails the test."""
    context = browser.new_context(base_url=site.address, **options)
    wrong: list[str] = []

    def asked(request: Any) -> None:
        if not request.url.startswith((site.address, "data:")):
            wrong.append(f"asked {request.url}")

    def watch(page: Any) -> None:
        page.on("console", lambda one: wrong.append(f"{page.url}: {one.type} {one.text}"))
        page.on("pageerror", lambda one: wrong.append(f"{page.url}: {one}"))

    context.on("request", asked)
    context.on("page", watch)
    context.set_default_timeout(30_000)
    try:
        yield context
        assert wrong == []
    finally:
        context.close()


def enter(page: Any, site: Site) -> None:
    page.goto(site.link)
    page.get_by_role("button", name="Continue as operator").click()
    page.wait_for_url(f"{site.address}/")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_each_page_is_clean(browser: Any, site: Site, size: dict[str, int], scheme: str) -> None:
    axe = axe_module.Axe()
    with opened(browser, site, viewport=size, color_scheme=scheme) as context:
        page = context.new_page()
        enter(page, site)
        letter = f"/letters/rows?tenant={site.case.name}&state=all"
        page.goto(letter)
        one = page.locator("tbody tr td:nth-child(3) a").first.get_attribute("href")
        for path in (*PAGES, letter, one):
            page.goto(path.format(intent=f"{site.case.name}-41"))
            assert page.locator("h1").count() == 1
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{path} is {wide} pixels too wide"
            if PICTURES and size is DESK:
                name = re.sub(r"\W+", "-", path.split("?")[0].strip("/")[:20]) or "now"
                page.screenshot(path=f"{PICTURES}/{name}-{scheme}.png")
            found = axe.run(page, options=RULES)
            assert found.violations_count == 0, f"{path}: {found.generate_report()}"


@pytest.mark.parametrize("scripted", [True, False], ids=["with JavaScript", "without"])
def test_from_the_red_card_to_the_replayed(browser: Any, site: Site, scripted: bool) -> None:
    mine = f"/letters?tenant={site.case.name}&type={TYPES[scripted]}"
    with opened(browser, site, viewport=DESK, java_script_enabled=scripted) as context:
        page = context.new_page()
        enter(page, site)
        page.reload()
        assert page.locator(".verdict").inner_text().endswith("you.")
        page.locator(".card .button").first.click()
        assert page.url.startswith(f"{site.address}/letters")
        page.goto(mine)
        page.get_by_role("button", name=re.compile("Plan a replay of all")).click()
        page.get_by_label(re.compile("Why")).fill("the provider is well again")
        page.get_by_role("button", name=re.compile("Replay 20 dead letters")).click()
        begun = page.url

        def done() -> bool:
            if not scripted:
                page.goto(begun)
            return "The run is done: 20 of 20" in page.locator("#run").inner_text()

        eventually(done, bool, within_s=60)
        assert "the provider is well again" in page.locator("#run").inner_text()


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


def test_keys_open_pages_and_do_nothing_in_fields(browser: Any, site: Site) -> None:
    with opened(browser, site, viewport=DESK) as context:
        page = context.new_page()
        page.goto("/")
        page.keyboard.press("g")
        page.keyboard.press("d")
        page.wait_for_url("**/letters")
        page.keyboard.press("/")
        page.keyboard.type("gn")
        assert page.url.endswith("/letters")
        assert page.locator("input[type=search]").input_value() == "gn"
