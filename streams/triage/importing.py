"""Dead letters of a file published again as the intents they were, each once (docs/adr/0028).

The file is read twice: once to check every line and to say what it comes to, once to send. What is
sent, and that it was, goes out in one transaction, under an id that all imports share: one that is
interrupted is begun again, and sends the rest; of two at once the later fences the earlier.
"""

import codecs
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal

from aiokafka import AIOKafkaProducer

from agents.clock import Clock, Dice, uuid7
from schemas.codec import IntentError, decode_intent
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.topics import REPLAYS_KEPT_MS
from schemas.vocabulary import LetterState
from streams.kafka.cluster import cluster_id
from streams.kafka.rights import replay_rights, require_rights
from streams.messages.addressing import addressed
from streams.messages.records import OutRecord
from streams.publishing.contents import Contents
from streams.publishing.dead_letters import replayed_record
from streams.publishing.originals import original_body
from streams.triage.book import Book, read_book
from streams.triage.choosing import Choice, Chooser, may_replay
from streams.triage.decided import number_of
from streams.triage.journal import transactional, transactional_name
from streams.triage.letter_lines import BadLineError, Line, read_line, with_intent
from streams.triage.outgoing import Outgoing, Sending
from streams.triage.places import Place, Places
from streams.triage.pricing import Estimator, Priced, Refusal
from streams.triage.typical import read_typical

__all__ = ["BadLine", "Import", "Importer"]

#: All imports have this transactional id, behind the prefix of those of plans.
IMPORT = "import"
#: Where a letter of another cluster stands here.
NOWHERE: Place = (-1, -1)
#: A line is no letter that is longer than so many times what a record may be.
SPARE = 2


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be published again, by its number (1-based)."""

    number: int
    problem: str


@dataclass(slots=True)
class Import:
    """What a file comes to."""

    lines: int = 0
    bad: int = 0
    #: Letters that are there more than once: the first one counts.
    repeated: int = 0
    #: So old that it is not known any more whether they were replayed.
    forgotten: int = 0
    changed: int = 0
    choice: Choice = field(default_factory=Choice)
    input_tokens: int = 0
    expected_usd: Decimal = Decimal(0)
    most_usd: Decimal = Decimal(0)
    without_expected: int = 0
    without_most: int = 0
    sent: int = 0

    @property
    def count(self) -> int:
        """Count those that are published."""
        return len(self.choice.places)

    def price_anew(self) -> None:
        """Begin the sums again."""
        self.input_tokens = self.without_expected = self.without_most = 0
        self.expected_usd = self.most_usd = Decimal(0)

    def price(self, priced: Priced) -> None:
        """Add what one of them costs."""
        self.input_tokens += priced.input_tokens
        self.expected_usd += priced.expected_usd or 0
        self.most_usd += priced.most_usd or 0
        self.without_expected += priced.expected_usd is None
        self.without_most += priced.most_usd is None


class Importer:
    """One file's way."""

    def __init__(
        self,
        settings: Settings,
        open_lines: Callable[[], Iterable[bytes]],
        *,
        clock: Clock,
        again: bool = False,
        force: bool = False,
    ) -> None:
        """Keep what is to be done; `open_lines` gives the file's lines, each time from the first.

        `again`: also letters that were replayed and have no outcome, or of which that is not known.
        """
        self._settings = settings
        self._open_lines = open_lines
        self._clock = clock
        self._again = again
        self._force = force
        self._cluster = ""
        self._seen: set[int] = set()

    async def look(self, on_bad: Callable[[BadLine], None]) -> Import:
        """Check and price every line; nothing is sent.

        Raises ValueError, OSError for prices or prompts that cannot be read, RightsError,
        BrokerUnavailableError, KafkaError, KeyFileError.
        """
        settings, found = self._settings, Import()
        await require_rights(
            settings, replay_rights(settings, transactional_name(settings, IMPORT))
        )
        self._cluster = await cluster_id(settings)
        estimator = Estimator(settings, await read_typical(settings), at=self._clock.now())
        book, chooser = await read_book(settings), Chooser(again=self._again, force=self._force)
        async with Contents(settings) as contents:
            for number, raw in _numbered(self._open_lines()):
                found.lines += 1
                try:
                    line = self._read(raw)
                    if not self._is_wanted(line, book, chooser, found):
                        continue
                    letter = await self._letter(line, contents)
                    priced = _priced(estimator, letter)
                except BadLineError as error:
                    found.bad += 1
                    on_bad(BadLine(number, str(error)))
                    continue
                chooser.take((0, number), letter)
                found.changed += letter.original.value != line.letter.original.value
                found.price(priced)
            found.choice = chooser.choice()
            if found.choice.older:  # their price is in the sums
                found.price_anew()
                for line in self._chosen(found.choice.places):
                    with suppress(BadLineError):
                        found.price(_priced(estimator, await self._letter(line, contents)))
        return found

    async def send(
        self,
        found: Import,
        sending: Sending,
        *,
        dice: Dice,
        on_sent: Callable[[int], None] = lambda _sent: None,
    ) -> Counter[str]:
        """Publish what was chosen; gives how many were passed over, by where they stand by now.

        Raises ProducerFenced where another import has begun, and what Kafka raises.
        """
        passed: Counter[str] = Counter()
        name = f"i-{uuid7(self._clock.now_ms(), dice)[-12:]}"
        async with (
            transactional(self._settings, IMPORT) as client,
            Contents(self._settings) as contents,
        ):
            book = await read_book(self._settings)  # the one before is fenced, and says no more
            out = Outgoing(self._settings, client, self._clock, name, sending)
            for line in self._chosen(found.choice.places):
                state = self._state(line, book)
                if not may_replay(state, again=self._again):
                    passed[state.value] += 1
                    continue
                try:
                    letter = await self._letter(line, contents)
                    record = await self._record(client, line, letter)
                except BadLineError:  # the file, or what it leans on, has changed since
                    passed["unreadable"] += 1
                    continue
                await out.take(letter.dead_letter_id, record)
                on_sent(out.sent)
            await out.flush()
        found.sent = out.sent
        return passed

    def _read(self, raw: bytes) -> Line:
        if len(raw) > SPARE * self._settings.max_record_bytes:
            message = f"it is {len(raw)} bytes long: no dead letter is"
            raise BadLineError(message)
        topic = self._settings.topics.dead_letters
        return read_line(raw, cluster=self._cluster, topic=topic)

    def _is_wanted(self, line: Line, book: Book, chooser: Chooser, found: Import) -> bool:
        """Whether a letter may be published, so far as its content does not matter; it counts."""
        name = number_of(line.letter.dead_letter_id)
        if name in self._seen:
            found.repeated += 1
            return False
        self._seen.add(name)
        if self._is_forgotten(line, book):
            found.forgotten += 1
            return False
        return chooser.wants(line.letter, self._state(line, book))

    def _is_forgotten(self, line: Line, book: Book) -> bool:
        """Whether it is so old that its replay, if there was one, is remembered no more."""
        if self._again or book.ended.of(line.letter) is not None:
            return False
        age_ms = (self._clock.now() - line.letter.failed_at).total_seconds() * 1000
        return age_ms >= REPLAYS_KEPT_MS

    def _state(self, line: Line, book: Book) -> LetterState:
        """Say where a letter stands; of another cluster's only what was done here is known."""
        return book.state(line.place or NOWHERE, line.letter)

    async def _letter(self, line: Line, contents: Contents) -> DeadLetter:
        """Give the letter with the intent that is published; raises BadLineError."""
        letter = line.letter
        if letter.is_without_content:  # with it, one whose intent was not touched stays as it was
            letter = await contents.restored(letter)
        letter = with_intent(replace(line, letter=letter))
        if letter.is_without_content:
            message = f"its content is not in the file: {letter.suggested_action}"
            raise BadLineError(message)
        return letter

    async def _record(self, client: AIOKafkaProducer, line: Line, letter: DeadLetter) -> OutRecord:
        """Build the record: for the lane that it is of, which on another cluster its key says.

        Raises BadLineError.
        """
        topics, source = self._settings.topics, letter.source
        record = replayed_record(letter, topics)
        is_ours = line.place is not None and source.topic in topics.sources[:2]
        if is_ours and source.partition in await client.partitions_for(source.topic):
            return record
        try:
            intent = decode_intent(
                original_body(letter), max_bytes=self._settings.hybrid_max_intent_bytes
            )
        except IntentError as error:
            raise BadLineError(error.message) from None
        topic, key = addressed(topics, intent)
        key = record.key or key or letter.intent_id.encode()
        return replace(record, topic=topic, key=key, partition=None)

    def _chosen(self, places: Places) -> Iterator[Line]:
        """Read the chosen lines again; a file that was changed meanwhile gives what is still so."""
        for number, raw in _numbered(self._open_lines()):
            if (0, number) in places:
                with suppress(BadLineError):
                    yield self._read(raw)


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Give lines that hold something, with their numbers (1-based)."""
    for number, raw in enumerate(lines, start=1):
        text = raw.removeprefix(codecs.BOM_UTF8).strip()
        if text:
            yield number, text


def _priced(estimator: Estimator, letter: DeadLetter) -> Priced:
    """Price a letter; raises BadLineError where a worker would refuse it again."""
    priced = estimator.price(letter)
    if isinstance(priced, Refusal):
        message = f"it would be refused again: {priced.code}: {priced.message}"
        raise BadLineError(message)
    return priced
