"""100,000 texts to vectors: through Kafka, one worker and the simulator, and onto the record.

Usage: python -m bench.embeddings [texts [inputs]]; `inputs` is how many texts an intent has. Each
vector is looked at, the record's rows are counted, and their dollars held against the simulator's
bill. The simulator makes the vectors up on the same cores, and its share of CPU is said.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.peers.machine import cpu_of
from hybrid.stack.simulated_embeddings import vector_of
from schemas.embeddings import packed
from streams.kafka.clients import consumer, partitions_of, producer, started
from streams.store.clickhouse import ClickHouse
from tests.chaos.running import RunningStack, running_stack

TEXTS, INPUTS = 100_000, 100
DIMENSIONS = 1_536
LATENCY_MS = 50
#: What a run may take, from the first intent to the last result, and until all rows are there.
LIMIT_S = 900.0
#: Of so many texts one's vector is compared number by number.
LOOKED_AT = 997
WORDS = "the quick brown fox jumps over the lazy dog and runs home"
SUMS = (
    "SELECT count(), sum(uncached_input_tokens), sum(visible_output_tokens + reasoning_tokens), "
    "toString(sum(cost_usd)) FROM provider_attempts FINAL WHERE status = 'finished'"
)


@dataclass
class Seen:
    """What came of the intents."""

    results: int = 0
    vectors: int = 0
    other: int = 0
    usd: Decimal = Decimal(0)
    problems: list[str] = field(default_factory=list)


def text(number: int) -> str:
    """Give a text of some 25 tokens."""
    return f"text {number}: {WORDS}, {number % 97} times"


async def publish(running: RunningStack, texts: int, inputs: int) -> None:
    """Write all intents."""
    client = producer(running.settings, linger_ms=5, max_batch_size=512_000)
    await client.start()
    try:
        for begin in range(0, texts, inputs):
            identifier = f"embed-{begin:09d}"
            intent = {
                "intent_id": identifier,
                "type": "message_generation",
                "user_id": "u",
                "task": "embedding",
                "data": {"input": [text(n) for n in range(begin, min(texts, begin + inputs))]},
            }
            value = json.dumps(intent).encode()
            await client.send(running.settings.topics.intents, value, identifier.encode())
        await client.flush()
    finally:
        await client.stop()


async def read(running: RunningStack, intents: int) -> Seen:
    """Read outcomes until all are there; nothing of them is kept."""
    seen, topics = Seen(), running.settings.topics
    until = time.monotonic() + LIMIT_S
    async with started(consumer(running.settings)) as reader:
        tps = [
            tp for name in (topics.results, topics.dead_letters)
            for tp in await partitions_of(reader, name)
        ]  # fmt: skip
        reader.assign(tps)
        await reader.seek_to_beginning(*tps)
        while seen.results + seen.other < intents:
            if time.monotonic() > until:
                sys.exit(f"only {seen.results} of {intents} results came within {LIMIT_S:.0f} s")
            for records in (await reader.getmany(timeout_ms=500, max_records=200)).values():
                for record in records:
                    look_at(seen, record.topic == topics.results, json.loads(record.value))
    return seen


def look_at(seen: Seen, is_result: bool, document: dict[str, Any]) -> None:  # noqa: FBT001 - said by its place
    """Count an outcome, and compare one of its vectors."""
    if not is_result:
        seen.other += 1
        seen.problems.append(document["error_message"])
        return
    seen.results += 1
    seen.vectors += len(document["embeddings"])
    seen.usd += Decimal(document["total_cost_usd"])
    begin = int(document["intent_id"].removeprefix("embed-"))
    for place, vector in enumerate(document["embeddings"]):
        if (begin + place) % LOOKED_AT == 0 and vector != packed(
            vector_of(text(begin + place), DIMENSIONS)
        ):
            seen.problems.append(f"vector {begin + place} is another")


async def both(running: RunningStack, texts: int, inputs: int) -> tuple[Seen, float]:
    """Publish, and read what comes; gives the seconds from the first intent to the last result."""
    begun = time.monotonic()
    intents = -(-texts // inputs)
    _, seen = await asyncio.gather(publish(running, texts, inputs), read(running, intents))
    return seen, time.monotonic() - begun


def rows(store: ClickHouse, calls: int) -> tuple[Any, ...]:
    """Give what is on record once all calls are."""
    until = time.monotonic() + LIMIT_S
    while True:
        (found,) = store.rows(SUMS)[1]
        if found[0] >= calls or time.monotonic() > until:
            return tuple(found)
        time.sleep(0.5)


def outcomes(store: ClickHouse) -> str:
    """Say how calls ended."""
    sql = (
        "SELECT outcome, error_code, count() FROM provider_attempts FINAL GROUP BY 1, 2 ORDER BY 3"
    )
    return ", ".join(f"{count} {name} {code}".strip() for name, code, count in store.rows(sql)[1])


def peak_mb(pid: int) -> float:
    """Give the largest resident memory that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(one for one in lines if one.startswith("VmHWM")).split()[1]) / 1024


def report(running: RunningStack, texts: int, inputs: int, say: Callable[[str], None]) -> bool:
    """Run once; gives whether all of it is right."""
    running.set_faults({"openai": {"latency_ms": LATENCY_MS}})
    pids: dict[str, Any] = running.stack.addresses()["pids"]
    ours = {"worker": pids["workers"][0], "recorder": pids["recorder"], "kafka": pids["kafka"]}
    before = {name: cpu_of(pid) for name, pid in ours.items()}
    began = time.monotonic()
    seen, seconds = asyncio.run(both(running, texts, inputs))
    store, calls = ClickHouse(running.settings), running.calls()
    count, tokens, output, usd = rows(store, len(calls))
    on_record_s = time.monotonic() - began
    ended = outcomes(store)
    store.close()
    spent = {name: cpu_of(pid) - before[name] for name, pid in ours.items()}
    billed = sum(Decimal(call["billed_usd"]) for call in calls)
    say(
        f"{texts} texts in {seen.results} results of {seen.vectors} vectors: {seconds:.1f} s, "
        f"{texts / seconds:.0f} texts/s; {seen.other} dead letters"
    )
    say(
        f"on record after {on_record_s:.1f} s: {count} rows ({ended}), {tokens} tokens in, "
        f"{output} out"
    )
    say(f"dollars: record {Decimal(usd):f}, results {seen.usd:f}, simulator's bill {billed:f} "
        f"for {len(calls)} calls")  # fmt: skip
    peaks = ", ".join(f"{name} {peak_mb(pid):.0f} MB" for name, pid in ours.items())
    shares = ", ".join(f"{name} {cpu:.1f} s" for name, cpu in spent.items())
    say(f"peak of resident memory: {peaks}")
    say(f"CPU: {shares}")
    for problem in seen.problems[:5]:
        say(f"wrong: {problem}")
    whole = seen.vectors == texts and count == len(calls) == seen.results
    return whole and Decimal(usd) == seen.usd == billed and not seen.problems


def main() -> int:
    """Print what came of it; 1 where a vector, a row or a digit is not right."""
    texts = int(sys.argv[1]) if len(sys.argv) > 1 else TEXTS
    inputs = int(sys.argv[2]) if len(sys.argv) > 2 else INPUTS  # noqa: PLR2004 - argv
    # A simulator that shares the cores with all others answers 256 calls one after another.
    environment = {"HYBRID_LOG_LEVEL": "warning", "HYBRID_OPENAI_TIMEOUT": "600"}
    with running_stack(workers=1, environment=environment) as running:
        return 0 if report(running, texts, inputs, lambda line: print(line, flush=True)) else 1


if __name__ == "__main__":
    sys.exit(main())
