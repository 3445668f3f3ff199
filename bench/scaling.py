"""How many of each part a rate takes: reckoned, not run; the figures behind it are measured ones.

Usage: python bench/scaling.py [intents a second] [seconds to an answer]
"""

import math
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.task import Completed
from schemas.settings import Settings
from streams.lanes.outcome_records import outcome_records
from streams.messages.identity import identify
from streams.messages.records import start_record
from tests.builders import a_result, a_task, an_attempt, an_incoming

#: CPU seconds for 1,000 intents: docs/benchmarks.md, "a backlog, the provider at 200 ms".
WORKER_CPU, KAFKA_CPU = 1.36, 0.25 / 0.691
#: Share of a core that is planned with: peaks, rebalances and garbage take the rest.
PLANNED = 0.6
CONCURRENCY = 256  # HYBRID_CONCURRENCY
INTENT_BYTES, ANSWER_BYTES = 590, 600
DAY_S = 86_400
#: Bytes of a row of a call on disk: CHANGELOG, `bench/reports.py`.
ROW_BYTES = 71
#: Rows for an intent whose first call is answered: one call (its two records are one row in the
#: end), one outcome, one event.
RECORDS, ROWS = 4, 3
RATES = (50, 500, 2_000, 10_000)


@dataclass(frozen=True)
class Need:
    """What a rate takes, in whole processes and in cores."""

    by_cpu: int
    by_calls: int
    kafka_cores: float
    kafka_mb_s: float
    records_s: float
    rows_a_day: float

    @property
    def workers(self) -> int:
        """Workers that are needed, which is also how many partitions are needed at least."""
        return max(self.by_cpu, self.by_calls)


def written_bytes() -> int:
    """Count the bytes that one intent's records take in Kafka, uncompressed, without overheads."""
    topics = Settings().topics
    incoming = an_incoming(b'{"type":"message_generation","user_id":"u","data":{}}')
    task = a_task()
    answer = a_result(task).model_copy(update={"content": "x" * ANSWER_BYTES})
    outcome = Completed(answer, an_attempt(task))
    decided = outcome_records(
        topics, incoming, identify(incoming, max_bytes=10_000).who, outcome,
        lane=3, outcome_id="0" * 36, worker="worker-0", group="workflow", now=datetime.now(UTC),
    )  # fmt: skip
    started = len(an_attempt(task).to_json())
    start = start_record(topics, "0" * 36, 1, lane=3).size
    return INTENT_BYTES + decided.size + started + start


def need(rate: float, answer_s: float) -> Need:
    """Reckon what a rate of intents takes, each answered by its first call."""
    return Need(
        by_cpu=math.ceil(rate * WORKER_CPU / 1000 / PLANNED),
        by_calls=math.ceil(rate * answer_s / (CONCURRENCY * PLANNED)),
        kafka_cores=rate * KAFKA_CPU / 1000,
        kafka_mb_s=rate * written_bytes() / 1e6,
        records_s=rate * RECORDS,
        rows_a_day=rate * ROWS * DAY_S,
    )


def main() -> None:
    """Print one table."""
    rates = [float(sys.argv[1])] if len(sys.argv) > 1 else RATES
    answers = [float(sys.argv[2])] if len(sys.argv) > 2 else (0.2, 5.0)  # noqa: PLR2004 - argv
    print(f"{written_bytes()} bytes an intent in Kafka, before compression and replication")
    print(
        "intents/s  answer s  workers: CPU, calls  Kafka cores  Kafka MB/s  records/s  rows a day"
    )
    for rate in rates:
        for answer_s in answers:
            one = need(rate, answer_s)
            print(
                f"{rate:9,.0f} {answer_s:9.1f} {one.by_cpu:13d}, {one.by_calls:5d} "
                f"{one.kafka_cores:12.2f} {one.kafka_mb_s:11.2f} {one.records_s:10,.0f} "
                f"{one.rows_a_day / 1e6:10,.1f} M"
            )


if __name__ == "__main__":
    main()
