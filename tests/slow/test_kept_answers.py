"""kill -9 of a real process, again and again, where the provider keeps its answers."""

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hybrid.stack.process import free_port
from hybrid.stack.simulator import Simulator, serve
from tests.integration.driving import soon
from tests.model.test_lane_model import TOPICS
from tests.slow.keeping_worker import records

INTENTS, KILLS = 40, 2
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Witnesses:
    """What the provider saw, and what is on record."""

    simulator: Simulator
    file: Path

    def values(self, topic: str) -> list[dict[str, Any]]:
        found = [one for one in records(self.file) if one.topic == topic]
        return [json.loads(one.value or b"{}") for one in found]

    @property
    def results(self) -> Counter[str]:
        return Counter(one["intent_id"] for one in self.values(TOPICS.results))

    @property
    def attempts(self) -> dict[str, dict[str, Any]]:
        """One of each id, as ClickHouse keeps them: with an end before without, used before not."""
        kept: dict[str, dict[str, Any]] = {}
        for one in self.values(TOPICS.attempts):
            known = kept.get(one["attempt_id"])
            if known is None or _rank(one) >= _rank(known):
                kept[one["attempt_id"]] = one
        return kept

    @property
    def answered(self) -> Counter[str]:
        """Answers that the provider has billed, by intent."""
        return Counter(call.intent for call in self.simulator.calls if call.status == 200)

    @property
    def repeated(self) -> int:
        return sum(count - 1 for count in self.answered.values())

    @property
    def billed(self) -> Decimal:
        return sum((Decimal(call.billed_usd) for call in self.simulator.calls), Decimal(0))

    @property
    def recorded(self) -> Decimal:
        return sum((Decimal(one["cost_usd"] or 0) for one in self.attempts.values()), Decimal(0))


def _rank(attempt: dict[str, Any]) -> int:
    return 0 if attempt["status"] == "started" else 1 + attempt["used_result"]


def killed(folder: Path, *, header: str, seed: int, **keeping: Any) -> Witnesses:
    """Run all intents through workers that are killed one after the other, at chance's moments."""
    dice = random.Random(seed)

    async def run() -> Witnesses:
        port, simulator = free_port(), Simulator(seed=seed)
        witnesses = Witnesses(simulator, folder / "broker")
        simulator.faults["openai"].latency_ms = 400
        for name, value in keeping.items():
            setattr(simulator.faults["openai"].keeping, name, value)
        runner = await serve(simulator, port=port)
        command = [
            sys.executable, "-m", "tests.slow.keeping_worker", f"http://127.0.0.1:{port}",
            str(witnesses.file), str(INTENTS), *([header] if header else []),
        ]  # fmt: skip
        try:
            for number in range(KILLS + 1):
                begin = len(records(witnesses.file))
                worker = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
                if number == KILLS:
                    assert await asyncio.wait_for(worker.wait(), 120) == 0
                    break
                await _until_written(witnesses.file, begin + dice.randrange(20, 240), worker)
                if worker.returncode is None:
                    os.kill(worker.pid, signal.SIGKILL)
                await worker.wait()

            async def all_ended() -> bool:
                return len(simulator.calls) >= len(simulator.cabinet.all())

            await soon(all_ended, bool, within_s=30)
        finally:
            await runner.cleanup()
        return witnesses

    return asyncio.run(run())


async def _until_written(file: Path, lines: int, worker: asyncio.subprocess.Process) -> None:
    async def written() -> bool:
        return len(records(file)) >= lines or worker.returncode is not None

    await soon(written, bool, within_s=120)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1, 2])
def test_no_call_is_repeated_and_the_bill_is_the_record(tmp_path: Path, seed: int) -> None:
    """Every tenth answer to a request is lost on purpose too: it is found by its key."""
    seen = killed(
        tmp_path, header="Idempotency-Key", seed=seed, idempotent=True, rate_lost=0.1, answer_ms=20
    )
    assert seen.results == {f"i-{number}": 1 for number in range(INTENTS)}
    assert seen.repeated == 0
    assert len(seen.simulator.calls) == INTENTS
    assert seen.recorded == seen.billed
    assert {call.attempt_id for call in seen.simulator.calls} <= set(seen.attempts)


@pytest.mark.timeout(400)
def test_where_requests_have_no_keys_each_that_is_lost_is_told_of(tmp_path: Path) -> None:
    seen = killed(tmp_path, header="", seed=3, rate_lost=0.1, answer_ms=20)
    assert seen.results == {f"i-{number}": 1 for number in range(INTENTS)}
    assert seen.repeated > 0, "every tenth is lost"
    untold = [
        call
        for call in seen.simulator.calls
        if Decimal(seen.attempts[call.attempt_id]["cost_usd"] or 0) != Decimal(call.billed_usd)
        and Decimal(seen.attempts[call.attempt_id]["cost_upper_usd"]) < Decimal(call.billed_usd)
    ]
    assert untold == [], "each is on record with what it cost, or may have cost at most"
    bounded = [one for one in seen.attempts.values() if not Decimal(one["cost_usd"] or 0)]
    billed = {call.attempt_id: Decimal(call.billed_usd) for call in seen.simulator.calls}
    lost = sum((billed.get(one["attempt_id"], Decimal(0)) for one in bounded), Decimal(0))
    assert seen.recorded + lost == seen.billed
