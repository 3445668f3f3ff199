"""The invariants under faults, in a form short enough for every run; `make chaos` is the long one."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streams.publishing.intents import open_producer
from tests.chaos.oracle import read_outcomes
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration
#: Intents that end well, beside 30 records that cannot.
SOUND = 480
STORM = {
    "rate_429": 0.05,
    "rate_5xx": 0.05,
    "rate_hang": 0.02,
    "retry_after": "0.2",
    "latency_ms": 10,
}


def test_a_storm_of_provider_faults_gives_each_intent_one_outcome_and_the_exact_bill(
    stack: RunningStack, tmp_path: Path
) -> None:
    """510 records: 5 % 429, 5 % 5xx, 2 % hangs, 4 % invalid, 2 % undecodable records."""
    stack.set_faults({"openai": STORM, "azure": STORM})
    case = Case(stack)
    types = ("content_planning", "message_generation")
    intents = [case.intent(type=types[n % 2], tenant=case.name) for n in range(SOUND)]
    file = tmp_path / "intents.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in intents))
    published = hybrid("publish", str(file), environment=stack.stack.environment())
    assert (published.returncode, published.stdout) == (0, f"published {SOUND}\n")
    bad = [(f"{case.name}-invalid-{n}", b'{"type": "x", "data": {}}') for n in range(20)]
    bad += [(f"{case.name}-bytes-{n}", b"\xff\x00" + bytes([n])) for n in range(10)]
    asyncio.run(_send_raw(stack, bad))
    found = case.wait(SOUND, within_s=150)
    assert not found.lost({one["intent_id"] for one in intents})
    assert not found.doubled()
    letters = eventually(lambda: _letters_by_key(stack, case.name), lambda seen: len(seen) == 30)
    assert all(len(values) == 1 for values in letters.values())
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    eventually(lambda: _bill_difference(case), lambda difference: difference == 0)


async def _send_raw(stack: RunningStack, records: list[tuple[str, bytes]]) -> None:
    async with open_producer(stack.settings) as client:
        for key, value in records:
            await client.send_and_wait(stack.settings.topics.intents, value=value, key=key.encode())


def _letters_by_key(stack: RunningStack, name: str) -> dict[str, list[dict[str, Any]]]:
    import base64

    outcomes = asyncio.run(read_outcomes(stack.settings))
    found: dict[str, list[dict[str, Any]]] = {}
    for letters in outcomes.dead_letters.values():
        for letter in letters:
            key = base64.b64decode(letter["original"]["key"] or "").decode()
            if key.startswith((f"{name}-invalid", f"{name}-bytes")):
                found.setdefault(key, []).append(letter)
    return found


def _bill_difference(case: Case) -> Decimal:
    """What `hybrid costs report` says of the case's tenant, less what the simulator billed for it."""
    asked = ("costs", "report", "--format", "json", "--tenant", case.name)
    done = hybrid(*asked, environment=case.stack.stack.environment())
    reported = sum((Decimal(row["cost_usd"]) for row in json.loads(done.stdout)), Decimal(0))
    return reported - sum((Decimal(one["billed_usd"]) for one in case.calls()), Decimal(0))
