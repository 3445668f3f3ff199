"""Letters of a file on their way: some together, in a transaction with the record of it."""

from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from agents.clock import Clock
from schemas.operations import ImportRecord
from schemas.settings import Settings
from streams.messages.records import OutRecord
from streams.triage.journal import operation_record, send_together

__all__ = ["Outgoing", "Sending"]

#: Letters, and bytes, of one transaction.
TOGETHER, TOGETHER_BYTES = 200, 4_000_000
#: With a rate it sends so often a second, where that is more than one record each.
TIMES_A_SECOND = 5


@dataclass(frozen=True, slots=True)
class Sending:
    """How it is sent, by whom, and what for."""

    by: str
    why: str = ""
    #: Records a second; None = as fast as it goes.
    rate: float | None = None


class Outgoing:
    """What is sent of one file."""

    def __init__(
        self,
        settings: Settings,
        client: AIOKafkaProducer,
        clock: Clock,
        name: str,
        sending: Sending,
    ) -> None:
        """Begin with nothing sent; `client` is in no transaction, `name` is the import's."""
        self._settings = settings
        self._client = client
        self._clock = clock
        self._name = name
        self._sending = sending
        self._records: list[OutRecord] = []
        self._letters: list[str] = []
        self._batches = 0
        self._next_at = clock.monotonic()
        self.sent = 0

    async def take(self, letter: str, record: OutRecord) -> None:
        """Take one in; sends once there are enough."""
        self._records.append(record)
        self._letters.append(letter)
        rate = self._sending.rate
        most = TOGETHER if rate is None else max(1, min(TOGETHER, int(rate / TIMES_A_SECOND)))
        size = sum(one.size for one in self._records)
        if len(self._records) >= most or size > TOGETHER_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Send what there is."""
        if not self._records:
            return
        if self._sending.rate is not None:
            await self._clock.sleep(max(0.0, self._next_at - self._clock.monotonic()))
            now = self._clock.monotonic()
            self._next_at = max(now, self._next_at) + len(self._records) / self._sending.rate
        done = ImportRecord(
            import_id=self._name,
            number=self._batches,
            letters=self._letters,
            why=self._sending.why,
            by=self._sending.by,
            at=self._clock.now(),
        )
        await send_together(self._client, [*self._records, operation_record(self._settings, done)])
        self.sent += len(self._records)
        self._batches += 1
        self._records, self._letters = [], []
