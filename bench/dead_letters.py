"""Dead letters in great number: what each command about them takes, in seconds and in memory.

Fills the topic of a broker of its own with letters of five causes and four sizes, as lanes write
them, then runs the commands as a user does. A run of a plan only publishes: no worker is there.

A fiftieth of the letters is replayed. Usage: python bench/dead_letters.py [letters]
"""

import asyncio
import base64
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.clock import SystemDice, uuid7
from hybrid.config import load_settings
from hybrid.stack.kafka import EmbeddedKafka
from hybrid.stack.process import free_port
from schemas.outcome import AttemptSummary, DeadLetter, OriginalRecord, RecordSource
from schemas.settings import Settings
from streams.kafka.clients import producer
from streams.kafka.topics import ensure_topics
from streams.lanes.letters import dead_letter_headers
from streams.messages.records import Identity, Incoming

SENT_AT_ONCE = 5_000
#: A multiple of the causes, the tenants and the sizes.
TEMPLATES = 4_000
#: Signs of an argument that are printed.
MOST_SHOWN = 30
DICE = SystemDice(1)
#: Reason, class, code, message, how many calls, whether a replay can succeed: the message differs
#: from letter to letter in one of them, as providers' do.
CAUSES: tuple[tuple[str, str, str, str, int, bool], ...] = (
    ("exhausted", "timeout", "timeout", "no answer within 30 s", 8, True),
    ("exhausted", "unknown", "server_error", "HTTP 503: upstream connect error {}", 8, True),
    ("rejected", "validation", "invalid_request", "HTTP 400: 'temperature' is too high", 1, False),
    ("rejected", "validation", "content_filter", "HTTP 400: content_filter", 2, False),
    ("deadline", "rate_limit", "deadline", "the deadline passed after 60 s", 3, True),
)
#: Characters of prompts: most are short, a few are documents.
SIZES = (200, 600, 600, 600, 1_500, 1_500, 4_000, 12_000)
WORDS = "the quick brown fox jumps over the lazy dog and says what it has seen "


def a_letter(number: int, now: datetime, partitions: int) -> tuple[DeadLetter, Incoming, Identity]:
    """Make a letter, the record that it was, and whose that is."""
    reason, kind, code, message, calls, can_succeed = CAUSES[number % len(CAUSES)]
    at = now - timedelta(seconds=number % 86_400)
    identifier, provider = f"order-{number:012d}", ("openai", "azure")[number % len(CAUSES) % 2]
    text = (WORDS * (SIZES[number % len(SIZES)] // len(WORDS) + 1))[: SIZES[number % len(SIZES)]]
    intent = {
        "type": ("message_generation", "content_planning")[number % len(CAUSES) // 2 % 2],
        "user_id": f"user-{number % 5_000}",
        "intent_id": identifier,
        "deduplication_id": f"dedup-{number:012d}",
        "tenant": f"tenant-{number // len(CAUSES) % 10}",
        "data": {"topic": text, "tone": "stern", "number": number},
        "metadata": {"campaign": f"c-{number % 100}"},
    }
    value = json.dumps(intent).encode()
    source = RecordSource(
        topic="workflow.intents", partition=number % partitions, offset=number, timestamp=at
    )
    incoming = Incoming(
        source.topic, source.partition, number, int(at.timestamp() * 1000),
        identifier.encode(), value, (("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"),),
    )  # fmt: skip
    letter = DeadLetter(
        dead_letter_id=uuid7(int(at.timestamp() * 1000), DICE),
        intent_id=identifier,
        reason=reason,  # type: ignore[arg-type] # read from its text
        error_class=kind,  # type: ignore[arg-type]
        error_code=code,
        error_message=message.format(f"req-{DICE.bits(64):016x}a1"),
        retriable=can_succeed,
        suggested_action="replay when the provider answers in time again",
        attempts=[
            AttemptSummary(
                attempt_id=uuid7(int(at.timestamp() * 1000), DICE), provider=provider,
                attempt=1 + one, error_class=kind, http_status=None, duration_ms=30_000,  # type: ignore[arg-type]
            )
            for one in range(calls)
        ],
        source=source,
        original=OriginalRecord(
            key=base64.b64encode(identifier.encode()).decode(),
            value=base64.b64encode(value).decode(),
            headers=[(name, base64.b64encode(one).decode()) for name, one in incoming.headers],
        ),
        tenant=str(intent["tenant"]),
        type=str(intent["type"]),
        deduplication_id=str(intent["deduplication_id"]),
        failed_at=at,
    )  # fmt: skip
    who = Identity(identifier, identifier, 0, None, None, source)
    return letter, incoming, who


def records(partitions: int) -> Iterator[tuple[bytes, list[tuple[str, bytes]]]]:
    """Give values and headers without end: some thousand letters, over and over, with other ids.

    To make each anew takes longer than all that is measured.
    """
    now, made = datetime.now(UTC), list[tuple[bytes, list[tuple[str, bytes]], bytes, bytes]]()
    for number in range(TEMPLATES):
        letter, incoming, who = a_letter(number, now, partitions)
        headers = list(dead_letter_headers(incoming, who, letter, "workflow", prefix="workflow"))
        headers += [("intent-type", (letter.type or "").encode())]
        headers += [("tenant", letter.tenant.encode())]
        identifier = letter.intent_id.encode()
        made.append((letter.to_json(), headers, identifier, letter.dead_letter_id.encode()))
    number = 0
    while True:
        raw, headers, intent, name = made[number % TEMPLATES]
        raw = raw.replace(intent, b"order-%012d" % number)
        raw = raw.replace(name, name[:-12] + b"%012x" % number)
        yield raw, headers
        number += 1


async def fill(settings: Settings, count: int) -> int:
    """Write letters over all partitions; gives their bytes."""
    topic, partitions = settings.topics.dead_letters, settings.hybrid_partitions
    size, made = 0, records(partitions)
    patient = {"linger_ms": 20, "max_batch_size": 1_000_000, "request_timeout_ms": 120_000}
    async with producer(settings, **patient) as client:
        for begin in range(0, count, SENT_AT_ONCE):
            sent = []
            for number in range(begin, min(count, begin + SENT_AT_ONCE)):
                raw, headers = next(made)
                size += len(raw)
                key = b"order-%012d" % number
                sent.append(
                    await client.send(topic, raw, key, number % partitions, headers=headers)
                )
            await asyncio.gather(*sent)
    return size


def run(environment: dict[str, str], *arguments: str) -> str:
    """Run a command, print what it took; gives what it printed."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    began = time.monotonic()
    with tempfile.TemporaryFile() as kept_out:
        process = subprocess.Popen(
            [sys.executable, "-m", "hybrid", "dlq", *arguments],
            env={**kept, **environment}, stdout=kept_out, stderr=subprocess.PIPE,
        )  # fmt: skip
        said = process.stderr.read().decode() if process.stderr else ""
        _, status, used = os.wait4(process.pid, 0)
        took = time.monotonic() - began
        kept_out.seek(0)
        printed = kept_out.read()
    shown = " ".join(f"{one[:MOST_SHOWN]}…"[: len(one)] for one in arguments)
    if status:
        sys.exit(f"{shown}: exit status {status}: {said}")
    sys.stdout.write(
        f"{shown:<60} {took:7.1f} s  {used.ru_utime + used.ru_stime:7.1f} s of CPU  "
        f"{used.ru_maxrss / 1024:6.0f} MB\n"
    )
    sys.stdout.flush()
    return printed.decode()


def commands(environment: dict[str, str], folder: Path) -> Iterator[str]:
    """Run them one after the other."""
    causes = json.loads(run(environment, "causes", "--format", "json"))
    yield f"{len(causes)} causes, of {sum(one['count'] for one in causes)}"
    for filters in (
        ("--tenant", "tenant-3", "--reason", "rejected"),
        ("--provider", "azure", "--tenant", "tenant-3"),
        ("--cause", causes[0]["cause"], "--tenant", "tenant-3"),
        ("--id", "order-000000000777"),
        ("--state", "resolved"),
    ):
        rows = json.loads(run(environment, "list", *filters, "--format", "json"))
        yield f"{len(rows)} rows"
    plans: list[dict[str, Any]] = []
    for filters in ((), ("--reason", "deadline", "--tenant", "tenant-3")):
        plans.append(json.loads(run(environment, "plan", *filters, "--format", "json")))
        yield f"{plans[-1]['count']} planned"
    out = folder / "letters.jsonl"
    run(environment, "export", "--out", str(out))
    yield f"{out.stat().st_size / 1e6:.0f} MB exported"
    began = time.monotonic()
    said = run(environment, "replay", plans[-1]["plan_id"], "--yes").strip().splitlines()[-1]
    took = time.monotonic() - began
    yield f"{said}: {plans[-1]['count'] / took:.0f}/s, start and reading included"


def main() -> None:
    """Fill a topic, and run the commands."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(prefix="hybrid-letters-") as folder:
        port, controller = free_port(), free_port()
        kafka = EmbeddedKafka(Path(folder) / "kafka", port=port, controller_port=controller)
        kafka.start()
        try:
            environment = {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"}
            settings = load_settings(environment=environment)
            asyncio.run(ensure_topics(settings))
            began = time.monotonic()
            size = asyncio.run(fill(settings, count))
            sys.stdout.write(
                f"{count} letters, {size / 1e6:.0f} MB, {size / count:.0f} bytes each, written in "
                f"{time.monotonic() - began:.0f} s\n"
            )
            for line in commands(environment, Path(folder)):
                sys.stdout.write(f"    {line}\n")
                sys.stdout.flush()
        finally:
            kafka.stop()


if __name__ == "__main__":
    main()
