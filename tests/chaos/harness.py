"""One run under faults: real broker, real processes, a seeded schedule, a report."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from streams.recording.lag import recorder_lag
from tests.chaos.injector import Fault, Injector
from tests.chaos.oracle import (
    Calls,
    Recorded,
    read_calls,
    read_outcomes,
    read_recorded,
    reconciled,
    settled_lag,
)
from tests.chaos.report import Recovery, Report
from tests.chaos.resend import resend
from tests.chaos.running import RunningStack, running_stack
from tests.chaos.traffic import Published, TrafficPlan, publish
from tests.chaos.watch import OutcomeWatch

__all__ = ["Plan", "run"]

SETTLE_S = 240


@dataclass(frozen=True)
class Plan:
    """What a run does; faults happen in this order, spread over the publishing."""

    seed: int = 1
    traffic: TrafficPlan = field(default_factory=TrafficPlan)
    workers: int = 3
    brokers: int = 1
    faults: tuple[str, ...] = ()
    provider_faults: dict[str, float] = field(default_factory=dict)
    latency_ms: float = 150.0
    environment: dict[str, str] = field(default_factory=dict)


def run(
    plan: Plan,
    *,
    host: RunningStack | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Report:
    """Run a plan to its end, on servers of its own or on a host's."""
    with running_stack(
        workers=plan.workers,
        brokers=plan.brokers,
        environment=plan.environment,
        seed=plan.seed,
        small_disk="disk" in plan.faults,
        host=host,
    ) as running:
        return asyncio.run(_run(plan, running, say))


async def _run(plan: Plan, running: RunningStack, say: Callable[[str], None]) -> Report:
    injector = Injector(running, random.Random(plan.seed))
    provider = {"latency_ms": plan.latency_ms, "retry_after": "0.1", **plan.provider_faults}
    running.set_faults({"openai": provider, "azure": provider})
    began = time.monotonic()
    published, watch, faults = Published(), OutcomeWatch(running.settings), list[Fault]()
    publishing = asyncio.create_task(
        publish(plan.traffic, running.settings, published, seed=plan.seed)
    )
    watching = asyncio.create_task(watch.follow())
    seconds = plan.traffic.intents / plan.traffic.rate
    for number, name in enumerate(plan.faults):
        at = seconds * (number + 0.7) / (len(plan.faults) + 0.5)
        await asyncio.sleep(max(0.0, began + at - time.monotonic()))
        say(f"{time.monotonic() - began:6.1f} s  {name}; {watch.count} outcomes")
        fault = await asyncio.to_thread(injector.inject, name)
        faults.append(fault)
        while not _felt(fault, watch) and watch.count < published.count:
            await asyncio.sleep(0.05)
    await publishing
    deadline = time.monotonic() + SETTLE_S
    while watch.count < published.count and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    say(f"{time.monotonic() - began:6.1f} s  {watch.count} of {published.count} outcomes")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    calls, recorded = await _settled(running)
    return Report(
        seed=plan.seed,
        published=published,
        outcomes=await read_outcomes(running.settings),
        calls=calls,
        recorded=recorded,
        recoveries=[
            Recovery(
                fault,
                watch.first_after(fault.at, fault.lanes),
                watch.longest_silence(fault.at, fault.lanes),
            )
            for fault in faults
        ],
        trouble=injector.trouble,
        repeat_bound=injector.in_flight_at_kills,
        lag=await settled_lag(running.settings),
        bill=await asyncio.to_thread(reconciled, running.settings, calls),
        resent=await resend(running.settings, seed=plan.seed),
        restarts=running.stack.restarts,
        seconds=time.monotonic() - began,
    )


def _felt(fault: Fault, watch: OutcomeWatch) -> bool:
    """Whether a fault's lanes go on, or have had a minute to."""
    return watch.first_after(fault.at, fault.lanes) < 60 or time.time() - fault.at > 60


async def _settled(running: RunningStack) -> tuple[Calls, Recorded]:
    """Wait until the recorder has caught up and nothing changes any more."""
    last: tuple[int, int] = (-1, -1)
    for _ in range(60):
        calls = read_calls(running.stack.simulator_log)
        with suppress(Exception):
            behind = await recorder_lag(running.settings)
            recorded = await asyncio.to_thread(read_recorded, running.settings)
            now = (len(calls.entries), len(recorded.finished))
            if now == last and not behind and not set(calls.attempt_ids) - recorded.all:
                return calls, recorded
            last = now
        await asyncio.sleep(1.5)
    return calls, recorded
