"""Commands that run something: the stack, the demo, a worker, a recorder, the simulator.

What they run is imported when they do: Faust, the SDK and the servers take a second to load.
"""

import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from hybrid.config import load_settings, need_clickhouse, need_kafka
from hybrid.printing import console
from hybrid.stack.environment import CONSOLE_LINK, StackOptions, callers_environment
from hybrid.stack.local import LocalStack

__all__ = ["register"]

Port = Annotated[int | None, typer.Option(min=1, max=65_535, help="default: a free one")]


def register(app: typer.Typer) -> None:
    """Add the commands for what runs something."""
    app.command()(demo)
    app.command()(up)
    app.command()(worker)
    app.command()(recorder)
    app.command()(simulator)
    app.command("clickhouse-engine", hidden=True)(clickhouse_engine)


def demo(
    live: Annotated[
        bool, typer.Option("--live", help="use the real providers whose keys are set; costs money")
    ] = False,
) -> None:
    """Start the local stack, run sample intents of every kind, show results and costs, stop it.

    Example: `hybrid demo`
    """
    from hybrid import demo as demo_run  # noqa: PLC0415

    load_settings(environment=callers_environment())
    demo_run.run(live=live)


def up(
    workers: Annotated[int, typer.Option(min=1, max=64, help="number of workers")] = 1,
    brokers: Annotated[int, typer.Option(help="1, or 3 that keep every record three times")] = 1,
    data_dir: Annotated[Path | None, typer.Option(help="keeps the data over restarts")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="gets the addresses as JSON")] = None,
    kafka_port: Port = None,
    clickhouse_port: Port = None,
    simulator_port: Port = None,
    metrics_port: Port = None,
    seed: Annotated[int, typer.Option(help="of the simulator's chance")] = 0,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="play all providers, whatever keys are set")
    ] = False,
) -> None:
    """Run the local stack in the foreground until Ctrl-C.

    Example: `hybrid up --workers 2 --data-dir ./data`
    """
    load_settings(environment=callers_environment())
    options = StackOptions(
        workers=workers,
        brokers=brokers,
        data_dir=data_dir.absolute() if data_dir else None,
        ready_file=ready_file.absolute() if ready_file else None,
        kafka_port=kafka_port,
        clickhouse_port=clickhouse_port,
        simulator_port=simulator_port,
        metrics_port=metrics_port,
        seed=seed,
        announced=True,
        real_providers=not simulate,
    )
    stopping = False

    def on_signal(_number: int, _frame: object) -> None:
        nonlocal stopping
        if stopping:
            raise KeyboardInterrupt
        stopping = True

    began = time.monotonic()
    stack = LocalStack(options, report=lambda text: console.print(f"  {text}", highlight=False))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        stack.start(should_stop=lambda: stopping)
        if not stopping:
            _tell_ready(stack, time.monotonic() - began)
        while not stopping:
            stack.supervise()
            time.sleep(0.2)
    finally:
        console.print("stopping …")
        stack.stop()
        console.print("stopped")


def _tell_ready(stack: LocalStack, seconds: float) -> None:
    console.print(f"[bold green]ready[/] after {seconds:.1f} s; Ctrl-C stops everything")
    for name in ("kafka", "clickhouse", "simulator", "metrics"):
        console.print(f"  {name:<11}{stack.addresses()[name]}", highlight=False)
    if stack.console is not None:
        console.print(f"  {'console':<11}{stack.console}", highlight=False)
        with suppress(OSError):
            file = stack.folder / CONSOLE_LINK
            link = file.read_text(encoding="utf-8").strip()
            console.print(f"  {'to act':<11}{link}", highlight=False, soft_wrap=True)
            console.print(f"  {'':<11}works once; the next one is in {file}",
                          highlight=False)  # fmt: skip
    console.print(f"  {'logs':<11}{stack.folder / 'logs'}", highlight=False)
    for name, where in stack.providers():
        console.print(f"  provider {name}: {where}", highlight=False, markup=False)


def worker(
    check: Annotated[
        bool, typer.Option("--check", help="only say what the settings lack, and end")
    ] = False,
) -> None:
    """Run one orchestrator worker against KAFKA_BOOTSTRAP_SERVERS.

    Example: `KAFKA_BOOTSTRAP_SERVERS=broker:9092 OPENAI_API_KEY=… hybrid worker`
    """
    from hybrid import runtime  # noqa: PLC0415

    settings = load_settings()
    if check:
        runtime.check_worker(settings)
        return
    runtime.require_keys(settings)
    runtime.run_worker(need_kafka(settings))


def recorder() -> None:
    """Run one ClickHouse recorder: attempts, outcomes and events from Kafka into ClickHouse.

    Example: `CLICKHOUSE_URL=http://default:@clickhouse:8123/hybrid hybrid recorder`
    """
    from hybrid import runtime  # noqa: PLC0415

    runtime.run_recorder(need_clickhouse(need_kafka(load_settings())))


def simulator(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="port to serve at")] = 8089,
    host: Annotated[str, typer.Option(help="address to serve at; 0.0.0.0 = all")] = "127.0.0.1",
    seed: Annotated[int, typer.Option(help="the same seed gives the same chance")] = 0,
    log: Annotated[Path | None, typer.Option(help="gets one JSON line a call")] = None,
) -> None:
    """Run the simulated providers (OpenAI and Azure OpenAI paths) with scripted faults.

    Example: `hybrid simulator --port 8089`, then
    `curl -d '{"openai": {"rate_429": 0.05}}' http://127.0.0.1:8089/_sim/faults`
    """
    from hybrid import runtime  # noqa: PLC0415

    runtime.run_simulator(
        host=host,
        port=port,
        seed=seed,
        log_file=log,
        ready=lambda: console.print(
            f"simulated providers at http://{host}:{port}", highlight=False
        ),
    )


def clickhouse_engine(
    data_dir: Annotated[Path, typer.Option()], port: Annotated[int, typer.Option()]
) -> None:
    """Run the local stack's ClickHouse engine."""
    from hybrid import runtime  # noqa: PLC0415

    runtime.run_clickhouse(folder=data_dir, port=port)
