"""The operator's pages: `hybrid console`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agents.clock import SystemClock
from hybrid.config import load_settings, need_clickhouse, need_kafka
from hybrid.errors import UsageError
from hybrid.printing import console as terminal
from hybrid.whoami import who_am_i

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("console")(console)


def console(
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="default: HYBRID_CONSOLE_PORT")
    ] = None,
    host: Annotated[str, typer.Option(help="address to serve at; this machine only")] = "127.0.0.1",
    metrics: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="a worker's /metrics; the local stack's are known"),
    ] = None,
    link_file: Annotated[
        Path | None, typer.Option(hidden=True, help="gets the operator's link")
    ] = None,
) -> None:
    """Serve the operator's pages until Ctrl-C: what needs you, what it costs, what puts it right.

    Whoever runs on this machine may look; the link that is printed makes its reader an operator.

    Example: `hybrid console --port 9480`
    """
    from hybrid.console.serving import made, place_of, serve, write_link  # noqa: PLC0415 - heavy
    from hybrid.logs import build_log  # noqa: PLC0415 - the same

    settings = need_kafka(load_settings())
    try:
        settings = need_clickhouse(settings)
    except UsageError:
        terminal.print("without ClickHouse: costs are not shown (set CLICKHOUSE_URL)")
    wrong = [one for one in metrics or [] if not one.startswith(("http://", "https://"))]
    if wrong:
        message = f"--metrics {wrong[0]}: write an address like http://worker-1:9464/metrics"
        raise UsageError(message)
    chosen = port or settings.hybrid_console_port or 9480
    place = place_of(settings, host=host, port=chosen)

    def on_link(link: str) -> None:
        if link_file is not None:
            write_link(link_file, link)
        else:
            terminal.print(f"to act, open (works once): {link}", highlight=False, soft_wrap=True)

    clock = SystemClock()
    app = made(
        settings,
        place,
        metrics=metrics or [],
        owner=who_am_i(),
        on_link=on_link,
        clock=clock,
        log=build_log(settings, process="console", clock=clock),
    )
    asyncio.run(
        serve(
            app,
            place,
            ready=lambda: terminal.print(f"console at {place.address}", highlight=False),
        )
    )
