"""How fast the recorder catches up: attempts from Kafka into the local ClickHouse engine.

Usage: python bench/recorder.py [calls]
"""

import asyncio
import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.clock import SystemDice, uuid7
from bench.peers.machine import cpu_of
from bench.reports import bytes_a_row
from schemas.attempt import ProviderAttempt
from streams.kafka.clients import producer
from streams.store.clickhouse import ClickHouse
from tests.chaos.running import RunningStack, running_stack

SENT_AT_ONCE = 5_000
DICE = SystemDice(1)


def an_attempt(number: int, now: datetime) -> ProviderAttempt:
    """Make a finished call with realistic values."""
    return ProviderAttempt.model_validate(
        {
            "attempt_id": uuid7(int(now.timestamp() * 1000) - number, DICE),
            "execution_id": uuid7(int(now.timestamp() * 1000) - number, DICE),
            "intent_id": f"order-{number:012d}",
            "status": "finished",
            "tenant": f"tenant-{number % 20}",
            "type": ("message_generation", "content_planning")[number % 2],
            "user_id": f"user-{number % 5000}",
            "priority": "medium",
            "provider": ("openai", "azure")[number % 2],
            "requested_model": ("gpt-3.5-turbo", "gpt-4-turbo")[number % 2],
            "served_model": ("gpt-3.5-turbo", "gpt-4-turbo")[number % 2],
            "outcome": "success" if number % 25 else "rate_limit",
            "http_status": 200 if number % 25 else 429,
            "uncached_input_tokens": 100 + number % 900,
            "visible_output_tokens": 50 + number % 400,
            "usage_source": "provider",
            "cost_usd": f"0.{number % 10_000:06d}",
            "price_id": "contract",
            "provider_request_id": f"req-{DICE.bits(64):x}",
            "used_result": bool(number % 25),
            "call_ms": 300 + number % 4000,
            "queue_ms": number % 50,
            "worker": f"worker-{number % 3}",
            "started_at": now - timedelta(seconds=number % 86_400),
            "finished_at": now,
        }
    )


async def fill(running: RunningStack, count: int) -> None:
    """Write attempts over all partitions."""
    topics, lanes = running.settings.topics, running.settings.hybrid_partitions
    client = producer(running.settings, linger_ms=20, max_batch_size=512_000)
    await client.start()
    now = datetime.now(UTC)
    try:
        for begin in range(0, count, SENT_AT_ONCE):
            sent = []
            for number in range(begin, min(count, begin + SENT_AT_ONCE)):
                attempt = an_attempt(number, now)
                key = attempt.intent_id.encode()
                sent.append(
                    await client.send(topics.attempts, attempt.to_json(), key, number % lanes)
                )
            await asyncio.gather(*sent)
    finally:
        await client.stop()


def main() -> None:
    """Print one table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with running_stack(workers=0, environment={"HYBRID_LOG_LEVEL": "warning"}) as running:
        pids = running.stack.addresses()["pids"]
        pid = pids["recorder"]
        os.kill(pid, signal.SIGSTOP)
        asyncio.run(fill(running, count))
        store = ClickHouse(running.settings)
        before = {name: cpu_of(pids[name]) for name in ("recorder", "clickhouse", "kafka")}
        begin = time.monotonic()
        os.kill(pid, signal.SIGCONT)
        times, seen = [], 0
        while seen < count:
            time.sleep(1)  # the question takes the engine's CPU, too
            seen = int(store.rows("SELECT count() FROM provider_attempts")[1][0][0])
            if seen:
                times.append((time.monotonic(), seen))
            if time.monotonic() - begin > 600:  # noqa: PLR2004 - a bound
                sys.exit(f"only {seen} of {count} rows were there after 600 s")
        seconds = time.monotonic() - begin
        spent = {name: (cpu_of(pids[name]) - cpu) / count * 1000 for name, cpu in before.items()}
        store.command("OPTIMIZE TABLE provider_attempts FINAL")
        size = bytes_a_row(store)
        store.close()
    (first_at, first), (last_at, last) = times[0], times[-1]
    print(
        f"{count} attempts were in ClickHouse {seconds:.1f} s after the recorder woke up (it had to rejoin its "
        f"group); from its first batch on {(last - first) / max(0.25, last_at - first_at):.0f} rows/s; "
        f"{size:.0f} bytes a row on disk"
    )
    shares = ", ".join(f"{name} {seconds:.3f}" for name, seconds in spent.items())
    print(f"CPU s per 1,000 rows: {shares}")


if __name__ == "__main__":
    main()
