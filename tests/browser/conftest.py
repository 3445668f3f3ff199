"""Chromium, once for all tests, and the console of a run that went well and badly."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hybrid.stack.process import free_port
from tests.browser.visiting import CHROMIUM, Site, console
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually

sync_api = pytest.importorskip("playwright.sync_api", reason="make test-browser installs it")
axe_module = pytest.importorskip("axe_playwright_python.sync_playwright")

#: What is replayed with JavaScript, and without, and how many of them.
THOUSAND, TWENTY = "message_generation", "content_planning"
#: Breakers open soon and stay open, and what waits for a provider waits for long.
OUTAGE = {
    "HYBRID_BREAKER_CALLS": "5", "HYBRID_BREAKER_OPEN": "900", "HYBRID_DEFER_DELAYS": "60,600,1200",
}  # fmt: skip
QUICK = {"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}}


@pytest.fixture(scope="session")
def site(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """1,020 dead letters of two causes, results, retries and another provider's answers."""
    case = Case(stack)
    stack.set_faults({"openai": {"always": "400"}, "azure": {"always": "400"}})
    hostile = {"tenant": case.name, "user_id": "<b>u</b>"}
    for kind, count in ((THOUSAND, 1_000), (TWENTY, 20)):
        case.publish(*(case.intent(type=kind, **hostile) for _ in range(count)))
    case.wait(1_020, within_s=180)
    stack.set_faults({"openai": {"latency_ms": 5, "rate_5xx": 0.6}, "azure": {"latency_ms": 5}})
    case.publish(*(case.intent(tenant=case.name) for _ in range(25)))
    case.wait(1_045)
    stack.set_faults(QUICK)
    with console(stack, case, tmp_path_factory.mktemp("console")) as found:
        yield found


@pytest.fixture(scope="session")
def out(stack: RunningStack) -> Iterator[Case]:
    """Openai answers 503: azure serves what may go there, 30 wait, 10 are put off, 3 ended badly."""
    with running_stack(workers=2, environment=OUTAGE, partitions=4, host=stack) as running:
        running.set_faults({"openai": {"always": "503"}, "azure": {"latency_ms": 5}})
        case = Case(running)
        both = [case.intent(tenant=case.name) for _ in range(20)]
        case.publish(*both)
        case.wait(20, within_s=120)
        eventually(lambda: shut_at(running), lambda seen: seen == [0, 1])
        late = [case.intent(force_provider="openai", deadline_ms=800) for _ in range(3)]
        waits = [case.intent(tenant=case.name, force_provider="openai") for _ in range(30)]
        hour = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        put_off = [case.intent(tenant=case.name, not_before=hour) for _ in range(10)]
        case.publish(*late, *waits, *put_off)
        case.wait(23)
        eventually(
            lambda: sum(running.outcomes(number)["deferred"] for number in (0, 1)),
            lambda count: count >= len(put_off),
        )
        yield case


def shut_at(running: RunningStack) -> list[int]:
    """Give the workers that do not call openai."""
    shut = 'hybrid_provider_available{provider="openai"} 0'
    return [number for number in (0, 1) if shut in running.metrics(number)]


@pytest.fixture(scope="session")
def ill(out: Case, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with console(out.stack, out, tmp_path_factory.mktemp("ill")) as found:
        yield found


@pytest.fixture(scope="session")
def blind(out: Case, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The same without ClickHouse."""
    away = f"http://default:@127.0.0.1:{free_port()}/hybrid"
    folder = tmp_path_factory.mktemp("blind")
    with console(out.stack, out, folder, CLICKHOUSE_URL=away) as found:
        yield found


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Chromium, after all that is looked at: playwright's loop leaves no room for another."""
    for name in ("site", "ill", "blind"):
        if any(name in getattr(one, "fixturenames", ()) for one in request.session.items):
            request.getfixturevalue(name)
    if not CHROMIUM:
        pytest.skip("no chromium: apt-get install chromium, or CHROMIUM=path")
    with sync_api.sync_playwright() as driver:
        chosen = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chosen
        chosen.close()


@pytest.fixture(scope="session")
def axe() -> Any:
    return axe_module.Axe()
