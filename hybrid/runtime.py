"""Running one worker, recorder, simulator or ClickHouse engine until a signal ends it."""

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path

from agents.clock import Clock, SystemClock, SystemDice
from agents.executing.prompts import load_prompts
from agents.log import Log
from hybrid.errors import HybridError, UsageError
from hybrid.logs import build_log
from hybrid.metrics import RecorderMetrics, serve_metrics
from hybrid.providing import build_providers, require_keys
from hybrid.stopping import on_signals
from hybrid.tracing import build_tracing
from hybrid.worker_metrics import WorkerMetrics
from schemas.settings import Settings
from schemas.versions import NewerRecordError
from streams.alerts.watch import watch
from streams.alerts.webhook import Webhook
from streams.kafka.clients import BrokerUnavailableError
from streams.kafka.faults import FaultKind, kind_of, right_missing
from streams.kafka.presence import TopicsError
from streams.kafka.rights import RightsError
from streams.membership.single_instance import InstanceTakenError
from streams.recording.recorder import Recorder
from streams.store.clickhouse import ClickHouseRefusedError
from streams.telemetry.traces import NOBODY
from streams.worker.build import build_worker
from streams.worker.supervisor import WorkerEndedError

__all__ = [
    "build_providers",
    "check_worker",
    "require_keys",
    "run_clickhouse",
    "run_recorder",
    "run_simulator",
    "run_worker",
]

#: New objects before the youngest are looked at, and how often that before the older ones are.
COLLECT_AFTER = (20_000, 20, 20)


def check_worker(settings: Settings) -> None:
    """Read what a worker reads at its start, keys in files too; raises UsageError."""

    async def check() -> None:
        for provider in build_providers(settings, SystemClock()).values():
            await provider.close()

    asyncio.run(check())


def run_worker(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT; a second signal ends it at once."""
    asyncio.run(_worker(settings))


def _collect_less() -> None:
    """Look for cycles of garbage more rarely, and never at what was imported.

    A call in flight holds some hundreds of objects: with hundreds of calls Python's thresholds make
    it walk over them all again and again, a sixth of a worker's time (docs/performance.md).
    """
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def _worker(settings: Settings) -> None:
    _collect_less()
    clock = SystemClock()
    name = settings.hybrid_instance_id or f"{socket.gethostname()}-{os.getpid()}"
    log = build_log(settings, process=name, clock=clock)
    providers = build_providers(settings, clock, log)
    folder = Path(settings.hybrid_prompts_dir) if settings.hybrid_prompts_dir else None
    tracing = build_tracing(settings, worker=name, clock=clock, log=log)
    try:
        worker = build_worker(
            settings,
            name=name,
            providers=providers,
            prompts=load_prompts(folder),
            clock=clock,
            dice=SystemDice(),
            log=log,
            traces=tracing.traces if tracing else NOBODY,
        )
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    on_signals(worker.stop)
    metrics = await serve_metrics(
        WorkerMetrics(worker, tracing.collector if tracing else None),
        port=settings.hybrid_metrics_port,
        ready=lambda: worker.ready,
    )
    try:
        await worker.run()
    except (BrokerUnavailableError, TopicsError, RightsError, InstanceTakenError) as error:
        raise UsageError(str(error)) from error
    finally:
        if tracing is not None:
            await tracing.collector.close()
        if metrics is not None:
            await metrics.cleanup()
    if isinstance(worker.failure, WorkerEndedError):
        raise HybridError(str(worker.failure))
    if worker.failure is not None and kind_of(worker.failure) is FaultKind.RIGHT:
        message = f"the broker refuses the worker {right_missing(worker.failure)}; grant the right"
        raise HybridError(message)
    if worker.failure is not None:
        message = f"the worker's consumer failed ({type(worker.failure).__name__}); start it again"
        if settings.hybrid_instance_id:
            instance = settings.hybrid_instance_id
            message += f", unless another worker runs with HYBRID_INSTANCE_ID = {instance}"
        raise HybridError(message)


def run_recorder(settings: Settings) -> None:
    """Run a recorder until SIGTERM or SIGINT."""
    asyncio.run(_recorder(settings))


async def _recorder(settings: Settings) -> None:
    clock = SystemClock()
    log = build_log(settings, process="recorder", clock=clock)
    recorder = Recorder(settings, clock=clock, log=log)
    on_signals(recorder.stop)
    metrics = await serve_metrics(
        RecorderMetrics(recorder), port=settings.hybrid_metrics_port, ready=lambda: recorder.ready
    )
    beside = _watching(settings, recorder, clock=clock, log=log)
    try:
        with suppress(asyncio.CancelledError):
            await _together(recorder, beside)
    except (BrokerUnavailableError, RightsError, TopicsError) as error:
        raise UsageError(str(error)) from error
    except (ClickHouseRefusedError, NewerRecordError) as error:
        raise HybridError(str(error)) from error
    finally:
        if metrics is not None:
            await metrics.cleanup()


async def _together(
    recorder: Recorder, beside: list[Callable[[], Coroutine[None, None, None]]]
) -> None:
    """Run the recorder, and the others once it is connected; one of them that fails ends it."""
    main = asyncio.create_task(recorder.run())
    connected = asyncio.create_task(recorder.connected.wait())
    await asyncio.wait({main, connected}, return_when=asyncio.FIRST_COMPLETED)
    connected.cancel()
    others = {asyncio.create_task(one()) for one in beside} if connected.done() else set()
    done, _ = await asyncio.wait({main, *others}, return_when=asyncio.FIRST_COMPLETED)
    recorder.stop()
    try:
        await main
    finally:
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    for one in done - {main}:
        one.result()


def _watching(
    settings: Settings, recorder: Recorder, *, clock: Clock, log: Log
) -> list[Callable[[], Coroutine[None, None, None]]]:
    """Give what a recorder does beside recording: raise alerts, and post them to the webhook."""
    name = settings.hybrid_instance_id or f"recorder on {socket.gethostname()}"
    watching = partial(watch, settings, name=name, recording=recorder, clock=clock, log=log)
    found: list[Callable[[], Coroutine[None, None, None]]] = [watching]
    url = settings.hybrid_alert_webhook
    if url is not None:
        webhook = Webhook(settings, url=url.get_secret_value(), clock=clock, log=log)
        found.append(webhook.run)
    return found


def run_simulator(
    *, host: str, port: int, seed: int, log_file: Path | None, ready: Callable[[], None]
) -> None:
    """Run the simulated providers until SIGTERM or SIGINT."""
    from hybrid.stack import simulator  # noqa: PLC0415 - production does without the local stack

    async def serve() -> None:
        played = simulator.Simulator(seed=seed, log_file=log_file)
        runner = await simulator.serve(played, host=host, port=port)
        await _until_signal(ready)
        await asyncio.wait_for(runner.cleanup(), 5)

    _serve_port(serve, port, host)


def run_clickhouse(*, folder: Path, port: int) -> None:
    """Run the ClickHouse engine behind its HTTP interface until SIGTERM or SIGINT."""
    from hybrid.stack import clickhouse_gateway  # noqa: PLC0415 - needs the extra [local]

    async def serve() -> None:
        runner = await clickhouse_gateway.serve(folder, port=port)
        await _until_signal(lambda: None)
        await asyncio.wait_for(runner.cleanup(), 5)

    _serve_port(serve, port)


def _serve_port(serve: Callable[[], object], port: int, host: str = "127.0.0.1") -> None:
    try:
        with suppress(TimeoutError):
            asyncio.run(serve())  # type: ignore[arg-type]
    except OSError as error:
        message = f"port {port} on {host} cannot be used ({error.strerror}); choose another"
        raise UsageError(message) from error


async def _until_signal(ready: Callable[[], None]) -> None:
    stopped = asyncio.Event()
    on_signals(stopped.set)
    ready()
    await stopped.wait()
