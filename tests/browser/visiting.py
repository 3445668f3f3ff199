"""A console that runs, chromium, and windows in which nothing may go wrong."""

import html
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hybrid.stack.process import Child, free_port, hybrid_command
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually
from tests.integration.visiting import shape_of

__all__ = [
    "CHROMIUM",
    "DESK",
    "PHONE",
    "Site",
    "assert_clean",
    "console",
    "crawled",
    "enter",
    "opened",
    "picture",
]

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
PICTURES = os.environ.get("CONSOLE_PICTURES")
PHONE, DESK = {"width": 360, "height": 800}, {"width": 1440, "height": 900}
#: Rules of WCAG 2.2 A and AA.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
#: What browsers say of an answer that is a page with a sentence: it is looked at by itself.
REFUSED = "Failed to load resource: the server responded with a status of 503"


class Site:
    """A console that runs, with something in it."""

    def __init__(self, address: str, link_file: Path, case: Case) -> None:
        self.address = address
        self.case = case
        self._link_file = link_file

    @property
    def link(self) -> str:
        return self._link_file.read_text().strip()


@contextmanager
def console(stack: RunningStack, case: Case, folder: Path, **environment: str) -> Iterator[Site]:
    """Run `hybrid console` for a stack; it may not have written a traceback at its end."""
    port, link_file = free_port(), folder / "link"
    metrics = [f"--metrics={one}" for one in stack.stack.addresses()["metrics"]]
    log = folder / "console.log"
    child = Child(
        "console",
        hybrid_command("console", "--port", str(port), "--link-file", str(link_file), *metrics),
        log_file=log,
        environment={
            **stack.stack.environment(), "HYBRID_CONSOLE_NAME": "test-eu", **environment,
        },
    )  # fmt: skip
    try:
        eventually(lambda: "console at" in log.read_text() or child.exit_status(), bool)
        assert child.exit_status() is None, child.tail(20)
        yield Site(f"http://127.0.0.1:{port}", link_file, case)
        assert "Traceback" not in log.read_text()
    finally:
        child.stop(within_s=20)


@contextmanager
def opened(browser: Any, site: Site, *, away: bool = False, **options: Any) -> Iterator[Any]:
    """A window of its own; what goes wrong in it fails the test.

    Where something is `away`, pages may answer 503, which browsers note by themselves.
    """
    context = browser.new_context(base_url=site.address, **options)
    wrong: list[str] = []

    def asked(request: Any) -> None:
        if not request.url.startswith((site.address, "data:")):
            wrong.append(f"asked {request.url}")

    def said(page: Any, one: Any) -> None:
        if not (away and one.text.startswith(REFUSED)):
            wrong.append(f"{page.url}: {one.type} {one.text}")

    def watch(page: Any) -> None:
        page.on("console", lambda one: said(page, one))
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
    """Become an operator."""
    page.goto(site.link)
    page.get_by_role("button", name="Continue as operator").click()
    page.wait_for_url(f"{site.address}/")


def assert_clean(page: Any, axe: Any, path: str) -> None:
    """Hold what a page is now to the rules: one heading, no wider than the window, axe-core."""
    assert page.locator("h1").count() == 1, path
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, f"{path} is {wide} pixels too wide"
    found = axe.run(page, options=RULES)
    assert found.violations_count == 0, f"{path}: {found.generate_report()}"


def picture(page: Any, name: str) -> None:
    """Keep a picture of a page where they are asked for."""
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/{name}.png")


def crawled(context: Any, site: Site, *begin: str) -> dict[str, int]:
    """Follow every link from some pages on; gives the status of each, by its path."""
    seen: dict[str, int] = {}
    todo = list(begin)
    shapes = {shape_of(one) for one in begin}
    while todo:
        path = todo.pop()
        answer = context.request.get(f"{site.address}{path}")
        seen[path] = answer.status
        kind = answer.headers.get("content-type", "")
        if "html" not in kind:
            continue
        for found in re.findall(r'(?:href|src|hx-get)="(/[^"]*)"', answer.text()):
            other = html.unescape(found)
            if shape_of(other) not in shapes:
                shapes.add(shape_of(other))
                todo.append(other)
    return seen
