"""What every run stands on: a Kafka of the bench's own, its intents, and the stub of a provider."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from hybrid.errors import HybridError, UsageError
from hybrid.stack.ground import answers
from hybrid.stack.jars import cache_folder
from hybrid.stack.kafka import EmbeddedKafka
from hybrid.stack.process import Child, free_port, wait_until

__all__ = [
    "LOG",
    "PARTITIONS",
    "TENANTS",
    "admin",
    "bench_cache",
    "create_topics",
    "intent",
    "require_compiler",
    "running_kafka",
    "running_stub",
    "send_intents",
    "stub_command",
]

PARTITIONS = 12
TENANTS = 50
#: Between what happened and the end of a log, which names paths and is no part of a page.
LOG = "; the end of its log: "
STUB_SOURCE = Path(__file__).with_name("stub.c")
STUB_START_S = 5
#: A broker for minutes of load: the JVM's own choice, not the local stack's (C1 only).
JAVA_OPTIONS: Sequence[str] = ()


def bench_cache() -> Path:
    """Give the folder of what is made once: environments and the stub's program."""
    folder = cache_folder() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def running_kafka(folder: Path) -> Iterator[EmbeddedKafka]:
    """Run a broker of its own; raises UsageError, HybridError."""
    kafka = EmbeddedKafka(
        folder, port=free_port(), controller_port=free_port(), java_options=JAVA_OPTIONS
    )
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.stop()


@asynccontextmanager
async def admin(servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an admin client."""
    client = AIOKafkaAdminClient(bootstrap_servers=servers)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def create_topics(servers: str, names: Sequence[str]) -> None:
    """Make topics of 12 partitions."""
    async with admin(servers) as client:
        await client.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])


def intent(number: int, prefix: str = "", *, tenants: int = TENANTS) -> tuple[bytes, bytes]:
    """Give key and value of one intent: some 590 bytes of JSON, the same for every pipeline."""
    identifier = prefix + str(number).zfill(36 - len(prefix))
    document = {
        "intent_id": identifier,
        "type": "message_generation",
        "user_id": f"user-{number % 1000:04d}",
        "tenant": f"tenant-{number % tenants:03d}",
        "model": "gpt-4o-mini",
        "max_output_tokens": 128,
        "temperature": 0,
        "data": {
            "messages": [
                {
                    "role": "system",
                    "content": "You check invoices against purchase orders. Answer in two sentences.",
                },
                {
                    "role": "user",
                    "content": f"Invoice {number:08d} from supplier ACME Widgets lists 3 items: "
                    "10 x bolt M8 at 0.12 EUR, 4 x bracket at 3.40 EUR and 1 x shipping at 7.90 EUR. "
                    "Does it match the order?",
                },
            ]
        },
        "metadata": {
            "source": "erp",
            "batch": "2026-11-23",
            "reference": f"purchase-order-2026-{number:08d}",
        },
    }
    return identifier.encode(), json.dumps(document, separators=(",", ":")).encode()


async def send_intents(servers: str, topic: str, count: int, *, tenants: int = TENANTS) -> None:
    """Publish the backlog as any producer does: by key, the id of the intent."""
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", linger_ms=20, max_batch_size=262_144
    )
    await producer.start()
    try:
        for number in range(count):
            key, value = intent(number, tenants=tenants)
            await producer.send(topic, value, key=key)
    finally:
        await producer.stop()


def require_compiler() -> str:
    """Find the compiler of the provider's stub; raises UsageError where there is none."""
    compiler = shutil.which("cc")
    if compiler is None:
        message = "what is published is measured with a provider in C: install a compiler (`cc`)"
        raise UsageError(message)
    return compiler


def stub_command() -> list[str]:
    """Give the provider's command: in C where there is a compiler; raises HybridError."""
    if shutil.which("cc") is None:
        return [sys.executable, str(STUB_SOURCE.with_suffix(".py"))]
    return [str(_built_stub(require_compiler()))]


def _built_stub(compiler: str) -> Path:
    """Compile the stub, once for each version of its source; raises HybridError."""
    digest = hashlib.sha256(STUB_SOURCE.read_bytes()).hexdigest()[:12]
    program = bench_cache() / f"stub-{digest}"
    if not program.exists():
        fresh = program.with_suffix(".new")
        done = subprocess.run(
            [compiler, "-O2", "-o", str(fresh), str(STUB_SOURCE), "-lm"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            message = f"{STUB_SOURCE.name} does not compile: {done.stderr.strip()[:300]}"
            raise HybridError(message)
        fresh.replace(program)
    return program


@contextmanager
def running_stub(
    folder: Path, *, latency_ms: int, up_to_ms: int = 0
) -> Iterator[tuple[Child, str]]:
    """Run the provider, with `up_to_ms` one whose times are drawn (stub.c); gives its process and its base URL; raises HybridError."""
    port = free_port()
    child = Child(
        "stub",
        [*stub_command(), str(port), f"{latency_ms}-{up_to_ms}" if up_to_ms else str(latency_ms)],
        log_file=folder / "stub.log",
    )
    try:
        if not wait_until(lambda: answers(port, "/stats"), within_s=STUB_START_S):
            message = f"the stub did not start: {child.tail(1)}"
            raise HybridError(message)
        yield child, f"http://127.0.0.1:{port}/v1"
    finally:
        child.stop(within_s=1)
