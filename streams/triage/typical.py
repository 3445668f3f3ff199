"""How long answers usually are: the median of the newest results."""

from collections import defaultdict
from statistics import median

from pydantic import ValidationError

from schemas.outcome import WorkflowResult
from schemas.settings import Settings
from streams.kafka.clients import consumer, partitions_of, started
from streams.kafka.rights import why_unseen

__all__ = ["Typical", "read_typical"]

#: So many of the newest results of each partition are looked at.
NEWEST = 200
#: A topic that gives nothing for so many milliseconds is not waited for: an estimate is no promise.
IDLE_MS = 3_000


class Typical:
    """Output tokens of answers, by type and provider."""

    def __init__(self) -> None:
        """Begin without any."""
        self._tokens: dict[tuple[str, str], list[int]] = defaultdict(list)

    def add(self, result: WorkflowResult) -> None:
        """Take a result in; vectors, and an answer that was not paid for, say nothing."""
        if result.metadata.cached or result.embeddings:
            return
        tokens = result.cost_info.output_tokens
        for name in ((result.type, result.provider), (result.type, ""), ("", "")):
            self._tokens[name].append(tokens)

    def output_tokens(self, kind: str, provider: str) -> int | None:
        """Give the median for a type at a provider, else of the type, else of all; None = none."""
        for name in ((kind, provider), (kind, ""), ("", "")):
            if name in self._tokens:
                return round(median(self._tokens[name]))
        return None


async def read_typical(settings: Settings) -> Typical:
    """Read the newest results; raises KafkaError, RightsError."""
    found, topic = Typical(), settings.topics.results
    async with started(consumer(settings)) as client:
        partitions = await partitions_of(client, topic)
        if not partitions:
            refused = await why_unseen(settings, topic)
            if refused is not None:
                raise refused
            return found
        client.assign(partitions)
        ends = await client.end_offsets(partitions)
        begins = await client.beginning_offsets(partitions)
        for tp in partitions:
            # A transaction's markers have offsets too: about as many as results at worst.
            client.seek(tp, max(begins[tp], ends[tp] - 2 * NEWEST))
        while any([await client.position(tp) < ends[tp] for tp in partitions]):
            batches = await client.getmany(timeout_ms=IDLE_MS, max_records=1_000)
            if not batches:
                break
            for records in batches.values():
                for record in records:
                    try:
                        found.add(WorkflowResult.model_validate_json(record.value or b""))
                    except ValidationError:
                        continue
    return found
