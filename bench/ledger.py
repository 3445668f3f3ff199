"""The ledger: bytes an entry in memory, and how long a worker needs to read it at its start.

The entries are read from a real broker by a real worker, with two records beside each entry in the
topic: the start of its intent and the tombstone that ends the start (before compaction: the worst).

Usage: python bench/ledger.py [entries] [records beside each entry: 0 or 2]
"""

import asyncio
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from schemas.events import LedgerRecord
from schemas.settings import Settings
from streams.kafka.clients import producer
from streams.lanes.ledger import Ledger
from streams.messages.records import OutRecord, start_record
from tests.chaos.running import RunningStack, running_stack

SENT_AT_ONCE = 5_000


def entry(number: int) -> bytes:
    """Give a ledger record as a lane writes it."""
    return LedgerRecord.model_validate(
        {
            "outcome_id": f"0190a1b2-0000-7000-8000-{number:012d}",
            "status": "completed",
            "topic": "workflow.intents",
            "offset": number,
            "decided_at_ms": time.time_ns() // 1_000_000,
        }
    ).to_json()


def memory(count: int) -> float:
    """Give the bytes an entry takes in memory."""
    ledger = Ledger(sources=("workflow.intents",), window_ms=86_400_000)
    raw = [LedgerRecord.model_validate_json(entry(number)) for number in range(1000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        ledger.put(f"order-{number:020d}", raw[number % 1000])
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / count


def records(settings: Settings, number: int, *, beside: int) -> list[OutRecord]:
    """Give an entry, with what else its intent leaves in the topic."""
    lane, key = number % settings.hybrid_partitions, f"order-{number:020d}"
    decided = OutRecord(settings.topics.ledger, key.encode(), entry(number), partition=lane)
    if not beside:
        return [decided]
    started, ended = (start_record(settings.topics, key, one, lane=lane) for one in (1, None))
    return [started, decided, ended]


async def fill(settings: Settings, count: int, *, beside: int) -> None:
    """Write the entries over all partitions of the ledger topic."""
    client = producer(settings, linger_ms=20, max_batch_size=512_000)
    await client.start()
    try:
        for begin in range(0, count, SENT_AT_ONCE):
            sent = [
                await client.send(record.topic, record.value, record.key, record.partition)
                for number in range(begin, min(count, begin + SENT_AT_ONCE))
                for record in records(settings, number, beside=beside)
            ]
            await asyncio.gather(*sent)
    finally:
        await client.stop()


def load(running: RunningStack) -> tuple[float, float]:
    """Start a worker; give the seconds until it is ready, and its resident MB then."""
    begin = time.monotonic()
    running.stack.scale(1)
    while not running.ready(0):
        if time.monotonic() - begin > 120:  # noqa: PLR2004 - a bound
            sys.exit("the worker did not become ready within 120 s")
        time.sleep(0.1)
    seconds = time.monotonic() - begin
    status = Path(f"/proc/{running.pids()[0]}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return seconds, int(resident.split()[1]) / 1024


def main() -> None:
    """Print one table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    beside = int(sys.argv[2]) if len(sys.argv) > 2 else 2  # noqa: PLR2004 - argv
    print(f"{count} ledger entries: {memory(count):.0f} bytes each in memory")
    with running_stack(workers=0, environment={"HYBRID_SESSION_TIMEOUT": "10"}) as running:
        empty, base = load(running)
        running.stack.scale(0)
        asyncio.run(fill(running.settings, count, beside=beside))
        seconds, resident = load(running)
        log = (running.stack.folder / "logs" / "worker-0.log").read_text()
        loading = log.count('"ledger_loading"')
    print(
        f"a worker with all lanes is ready after {seconds:.1f} s ({empty:.1f} s with an empty ledger), "
        f"resident {resident:.0f} MB ({base:.0f} MB); {count * (1 + beside)} records in the topic; "
        f"{loading} progress lines"
    )


if __name__ == "__main__":
    main()
