"""What lanes take in: a key that comes later than what it sealed is waited for, and no longer."""

import asyncio
from dataclasses import dataclass, field

from streams.lanes.contents import Contents
from streams.messages.records import Incoming, OutRecord
from streams.messages.sealing import Vault
from tests.builders import NOW_MS, an_incoming
from tests.unit.test_sealing import INTENT, WHOSE, put_off, read, vault


@dataclass
class Taken:
    records: list[tuple[Incoming, bool]] = field(default_factory=list)

    def __call__(self, incoming: Incoming, *, late: bool) -> None:
        self.records.append((incoming, late))


def sealed(by: Vault) -> tuple[Incoming, OutRecord]:
    record, made = by.sealed((put_off(),), WHOSE, lane=3, now_ms=NOW_MS)
    return read(record), made


def test_a_key_that_comes_later_opens_what_came_before_it() -> None:
    one, taken = vault(), Taken()
    incoming, made = sealed(one)
    reads = 0

    async def read_keys() -> None:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)
        one.learn((made.key or b"").decode(), made.value)

    async def run() -> None:
        contents = Contents(one, read_keys)
        for _ in range(3):
            contents.give(incoming, taken)
        assert taken.records == []
        await contents.until_sure()
        await asyncio.sleep(0)
        contents.give(incoming, taken)

    asyncio.run(run())
    assert [(one.value, late) for one, late in taken.records] == [
        *([(INTENT, True)] * 3), (INTENT, False),
    ]  # fmt: skip
    assert reads <= 2  # for all of them together


def test_what_came_during_a_look_is_looked_for_once_more() -> None:
    one, taken, going = vault(), Taken(), asyncio.Event()
    incoming, made = sealed(one)
    reads = 0

    async def read_keys() -> None:
        nonlocal reads
        reads += 1
        if reads == 1:
            await going.wait()  # it has passed the place where the key will be
        else:
            one.learn((made.key or b"").decode(), made.value)

    async def run() -> None:
        contents = Contents(one, read_keys)
        first = asyncio.create_task(contents.until_sure())
        while not reads:
            await asyncio.sleep(0)
        contents.give(incoming, taken)
        await asyncio.sleep(0)
        going.set()
        await first
        await contents.until_sure()
        await asyncio.sleep(0)

    asyncio.run(run())
    assert [one.value for one, _ in taken.records] == [INTENT]


def test_a_key_that_is_not_there_to_the_end_is_gone_and_the_record_says_so() -> None:
    one, taken = vault(), Taken()
    incoming, made = sealed(one)
    one.learn((made.key or b"").decode(), made.value)
    one.learn((made.key or b"").decode(), None)

    async def read_keys() -> None:
        # Somebody reads the topic from its beginning: what was destroyed stays so.
        one.learn((made.key or b"").decode(), made.value)

    async def run() -> None:
        contents = Contents(one, read_keys)
        contents.give(incoming, taken)
        await contents.until_sure()
        await asyncio.sleep(0)

    asyncio.run(run())
    ((opened, late),) = taken.records
    assert late
    assert opened.unreadable is not None
    assert opened.unreadable.is_forgotten


def test_what_is_not_sealed_is_taken_at_once_and_so_is_what_lacks_the_tenants_key() -> None:
    taken = Taken()
    plain = an_incoming(INTENT)
    Contents().give(plain, taken)
    Contents(vault()).give(plain, taken)
    incoming, _ = sealed(vault())
    Contents(Vault(vault()._topics, None, chance=bytes)).give(incoming, taken)
    assert [late for _, late in taken.records] == [False] * 3
    assert taken.records[2][0].unreadable is not None
