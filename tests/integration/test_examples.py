"""The programs of examples/, run as they stand."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chaos.running import RunningStack
from tests.integration.driving import Case

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
QUICK = {"latency_ms": 5}
TRACE = "0af7651916cd43dd8448eb211c80319c"


def a_case(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> Case:
    stack.set_faults({"openai": QUICK, "azure": QUICK})
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", stack.settings.kafka_bootstrap_servers or "")
    monkeypatch.setenv("HYBRID_TOPIC_PREFIX", stack.settings.hybrid_topic_prefix or "")
    return Case(stack)


def test_a_fastapi_service(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    case = a_case(stack, monkeypatch)
    from examples.fastapi_app import app

    def order(number: int, **more: Any) -> dict[str, Any]:
        return {"order_id": f"{case.name}-{number}", "user_id": "u", "occasion": "birthday", **more}

    async def run() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://service", timeout=90) as web,
        ):
            first, again = [await web.post("/messages", json=order(1)) for _ in range(2)]
            assert (first.status_code, again.json()) == (200, first.json())
            assert first.json()["text"]
            stack.set_faults({"openai": {"latency_ms": 2000}})
            late = await web.post("/messages", json=order(2, patience_s=1))
            assert late.status_code == 202
            ready = await web.get(f"/messages/{late.json()['intent_id']}")
            assert (ready.status_code, ready.json()["intent_id"]) == (200, late.json()["intent_id"])
            stack.set_faults({"openai": {"always": "400"}})
            refused = await web.post("/messages", json=order(3))
            assert (refused.status_code, refused.json()["detail"]) == (422, "invalid_request_error")

    try:
        asyncio.run(run())
    finally:
        stack.set_faults({"openai": QUICK, "azure": QUICK})


CELERY = """
import sys
from celery.contrib.testing.worker import start_worker
from celery.result import allow_join_result
from examples.celery_app import app, write_message

with start_worker(app, pool="solo", perform_ping_check=False, loglevel="error"), allow_join_result():
    texts = [write_message.delay(sys.argv[1], "birthday").get(timeout=60) for _ in range(2)]
assert texts[0] == texts[1], texts
print(texts[0])
"""


def test_a_celery_task(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker with the broker in memory; the same task twice is the same work."""
    case = a_case(stack, monkeypatch)
    done = subprocess.run(
        [sys.executable, "-c", CELERY, f"{case.name}-1"],
        capture_output=True, text=True, timeout=90, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
