"""`hybrid demo`: the whole job once, on real parts, with the bill checked at the end."""

import asyncio
import json
import signal
import time
import urllib.request
from collections import Counter
from decimal import Decimal
from typing import Any

from pydantic import SecretStr
from rich.progress import Progress

from hybrid.config import load_settings
from hybrid.errors import HybridError
from hybrid.printing import Format, console, print_table
from hybrid.stack.environment import StackOptions
from hybrid.stack.local import LocalStack
from schemas.base import format_usd
from schemas.settings import Settings
from streams.bill import costs
from streams.kafka.reading import read_topic
from streams.publishing.intents import open_producer
from streams.store.clickhouse import ClickHouse

__all__ = ["run", "sample_intents"]

LIMIT_S = 90
#: Short waits, so that a retry can be watched; production waits 1, 2 and 5 seconds.
QUICK = {"HYBRID_RETRY_DELAYS": "0.2,0.4,0.8", "HYBRID_DEFER_DELAYS": "2,5,10"}
TYPES = ("content_planning", "campaign_execution", "content_validation", "message_generation")


def sample_intents(*, simulated: bool) -> list[tuple[str, bytes]]:
    """Give what the demo publishes: (what it shows, record value)."""
    samples: list[tuple[str, bytes]] = []
    for number in range(20):
        kind = TYPES[number % len(TYPES)]
        samples.append(
            (
                "ordinary work",
                _intent(
                    f"demo-{number:02d}",
                    kind,
                    {"topic": f"autumn launch, part {number}"},
                    tenant=("acme", "globex")[number % 2],
                    priority="high" if number % 5 == 0 else "medium",
                ),
            )
        )
    samples.append(("the same intent again: runs once", samples[0][1]))
    if simulated:
        samples += [
            (
                "1,500 tokens of gpt-3.5-turbo on openai: 0.003 USD",
                _intent(
                    "demo-1500-tokens",
                    "message_generation",
                    {"note": "[[sim:tokens=1500]]"},
                    model="gpt-3.5-turbo",
                ),
            ),
            (
                "2,000 tokens of gpt-4-turbo on azure: 0.02 USD",
                _intent(
                    "demo-2000-tokens",
                    "content_planning",
                    {"note": "[[sim:tokens=2000]]"},
                    model="gpt-4-turbo",
                ),
            ),
            (
                "the provider refuses it: dead letter, one call",
                _intent("demo-rejected", "message_generation", {"note": "[[sim:status=400]]"}),
            ),
        ]
    samples += [
        ("not a valid intent: dead letter, no call", b'{"type": "message_generation"}'),
        ("not even JSON: dead letter with the exact bytes", b"\xff\xfe not json"),
    ]
    return samples


def _intent(identifier: str, kind: str, data: dict[str, Any], **more: object) -> bytes:
    return json.dumps(
        {"intent_id": identifier, "type": kind, "user_id": "u-1", "data": data, **more}
    ).encode()


def run(*, live: bool) -> None:
    """Run the demo; raises HybridError when anything is not as it should be."""
    began = time.monotonic()
    console.rule("[bold]Hybrid Orchestrator demo")
    stack = LocalStack(
        StackOptions(workers=2, real_providers=live, environment=QUICK),
        report=lambda text: console.print(f"  {text}", highlight=False),
    )
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        stack.start()
        console.print(
            f"  ready after {time.monotonic() - began:.1f} s: Kafka {stack.kafka}, "
            f"ClickHouse, providers {'REAL' if live else 'simulated'}, 2 workers, 1 recorder",
            highlight=False,
        )
        if not live:
            _post_json(f"{stack.simulator}/_sim/faults", {"openai": {"plan": ["429", "ok", "503"]}})
        settings = load_settings().model_copy(
            update={
                "kafka_bootstrap_servers": stack.kafka,
                "kafka_security_protocol": "PLAINTEXT",
                "kafka_sasl_mechanism": None,
                "clickhouse_url": SecretStr(stack.clickhouse),
            }
        )
        asyncio.run(_work(settings, simulated=not live))
        _bill(settings, stack, simulated=not live)
    finally:
        console.print("  stopping …")
        stack.stop()
    console.print(
        f"[bold green]done[/] in {time.monotonic() - began:.0f} s; "
        "nothing is left running. Next: hybrid up",
        highlight=False,
    )


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


async def _work(settings: Settings, *, simulated: bool) -> None:
    """Publish the samples, then wait until every intent has its one outcome."""
    samples = sample_intents(simulated=simulated)
    shown = Counter(text for text, _ in samples)
    async with open_producer(settings) as client:
        for _, value in samples:
            intent_id = json.loads(value).get("intent_id") if value.startswith(b"{") else None
            key = intent_id.encode() if intent_id else None
            urgent = b'"high"' in value
            topic = settings.topics.urgent if urgent else settings.topics.intents
            await client.send_and_wait(topic, value=value, key=key)
    console.print(f"\n[bold]published {len(samples)} records[/]")
    for text, count in shown.items():
        console.print(f"  {count:>3} × {text}", highlight=False)
    wanted = len(samples) - 1  # the repeated intent has no second outcome
    results, letters = await _outcomes(settings, wanted)
    console.print()
    print_table(
        ["intent", "type", "provider", "attempt", "tokens", "cost_usd", "ms", "content"],
        [
            (
                one["intent_id"],
                one["type"],
                one["provider"],
                one["metadata"]["attempt"],
                one["cost_info"]["tokens"],
                one["cost_info"]["cost_usd"],
                one["timings"]["total_ms"],
                one["content"][:28] + "…",
            )
            for one in sorted(results, key=lambda one: one["intent_id"])
        ],
        Format.TABLE,
        title=f"{len(results)} results",
    )
    print_table(
        ["intent", "reason", "code", "calls", "message"],
        [
            (
                one["intent_id"][:20],
                one["reason"],
                one["error_code"],
                len(one["attempts"]),
                one["error_message"],
            )
            for one in letters
        ],
        Format.TABLE,
        title=f"{len(letters)} dead letters",
    )


async def _outcomes(
    settings: Settings, wanted: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    topics = settings.topics
    found: dict[str, list[dict[str, Any]]] = {topics.results: [], topics.dead_letters: []}

    async def follow(topic: str) -> None:
        async for record in read_topic(settings, topic, follow=True):
            found[topic].append(json.loads(record.value or b"{}"))

    tasks = [asyncio.create_task(follow(topic)) for topic in found]
    deadline = time.monotonic() + LIMIT_S
    try:
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task("outcomes", total=wanted)
            while (count := sum(map(len, found.values()))) < wanted:
                progress.update(bar, completed=count)
                failed = [task for task in tasks if task.done()]
                if failed or time.monotonic() > deadline:
                    message = f"only {count} of {wanted} outcomes came within {LIMIT_S} s"
                    raise HybridError(message)
                await asyncio.sleep(0.1)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found[topics.results], found[topics.dead_letters]


def _bill(settings: Settings, stack: LocalStack, *, simulated: bool) -> None:
    """Print the cost report, and hold its sum against what the simulator billed."""
    store = ClickHouse(settings)
    calls, billed = 0, Decimal(0)
    if simulated:
        entries = [json.loads(line) for line in _get(f"{stack.simulator}/_sim/calls").splitlines()]
        calls, billed = (
            len(entries),
            sum((Decimal(one["billed_usd"]) for one in entries), Decimal(0)),
        )
    deadline = time.monotonic() + 30
    try:
        while True:
            total = costs.total(store, since=None)
            recorded, cost = int(total.rows[0][0]), Decimal(str(total.rows[0][1]))
            finished = recorded > 0 and _all_finished(store)
            if finished and (not simulated or recorded == calls):
                break
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        table = costs.report(store, by=("provider", "model", "tenant"), since=None)
    finally:
        store.close()
    print_table(table.columns, table.rows, Format.TABLE, title="what it cost (from ClickHouse)")
    console.print(f"  total: {format_usd(cost)} USD for {recorded} calls", highlight=False)
    if simulated:
        same = recorded == calls and cost == billed
        console.print(
            f"  the simulator billed {format_usd(billed)} USD for {calls} calls: "
            f"{'the same, to the last digit' if same else 'NOT the same'}\n",
            highlight=False,
        )
        if not same:
            message = "the cost report and the simulator's bill differ"
            raise HybridError(message)


def _all_finished(store: ClickHouse) -> bool:
    _, rows = store.rows("SELECT countIf(status = 'started') FROM provider_attempts FINAL")
    return int(rows[0][0]) == 0


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own simulator
        return str(answer.read().decode())


def _post_json(url: str, document: object) -> None:
    request = urllib.request.Request(  # noqa: S310 - our own simulator
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310
