"""One run under faults: real broker, real processes, a seeded schedule, a report."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from hybrid.stack.process import free_port
from tests.chaos.background import KEEPING, background_file
from tests.chaos.injector import Fault, Injector
from tests.chaos.oracle import (
    read_outcomes,
    reconciled,
    settled_lag,
)
from tests.chaos.report import Recovery, Report
from tests.chaos.resend import resend
from tests.chaos.running import RunningStack, running_stack
from tests.chaos.settling import settled
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
    #: Providers keep their answers, and this is how (`KEEPING`); empty = chat completions.
    keeping: str = ""


def run(
    plan: Plan,
    *,
    host: RunningStack | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Report:
    """Run a plan to its end, on servers of its own or on a host's."""
    with TemporaryDirectory(prefix="hybrid-chaos-config-") as folder:
        environment, port = dict(plan.environment), None
        if plan.keeping:
            port = free_port()
            file = background_file(Path(folder), port=port, keeping=plan.keeping)
            environment["HYBRID_CONFIG"] = str(file)
        with running_stack(
            workers=plan.workers,
            brokers=plan.brokers,
            environment=environment,
            seed=plan.seed,
            small_disk="disk" in plan.faults,
            simulator_port=port,
            host=host,
        ) as running:
            return asyncio.run(_run(plan, running, say))


async def _run(plan: Plan, running: RunningStack, say: Callable[[str], None]) -> Report:
    injector = Injector(running, random.Random(plan.seed))
    provider: dict[str, object] = {"latency_ms": plan.latency_ms, "retry_after": "0.1"}
    provider |= plan.provider_faults | {"keeping": KEEPING.get(plan.keeping, {})}
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
    calls, recorded = await settled(running)
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
        keeping=plan.keeping,
        lag=await settled_lag(running.settings),
        bill=await asyncio.to_thread(reconciled, running.settings, calls),
        resent=await resend(running.settings, seed=plan.seed),
        restarts=running.stack.restarts,
        seconds=time.monotonic() - began,
    )


def _felt(fault: Fault, watch: OutcomeWatch) -> bool:
    """Whether a fault's lanes go on, or have had a minute to."""
    return watch.first_after(fault.at, fault.lanes) < 60 or time.time() - fault.at > 60
