"""The command `hybrid`: one sentence and the right exit status for whatever goes wrong."""

import codecs
import errno
import io
import json
import logging
import os
import sys
from importlib.metadata import version as version_of
from typing import Annotated, NoReturn

import typer

from hybrid.errors import HybridError
from hybrid.lazy import Later, Register, group_of

__all__ = ["app", "main"]

# Each of these takes a part of a second to load: it is loaded when a command of it is run.


def _stack() -> Register:
    from hybrid.commands import stack  # noqa: PLC0415 - see above

    return stack.register


def _operate() -> Register:
    from hybrid.commands import operate  # noqa: PLC0415 - see above

    return operate.register


def _stories() -> Register:
    from hybrid.commands import trace  # noqa: PLC0415 - see above

    return trace.register


def _hands() -> Register:
    from hybrid.commands import hands  # noqa: PLC0415 - see above

    return hands.register


def _cancelling() -> Register:
    from hybrid.commands import cancelling  # noqa: PLC0415 - see above

    return cancelling.register


def _forgetting() -> Register:
    from hybrid.commands import forgetting  # noqa: PLC0415 - see above

    return forgetting.register


def _standing() -> Register:
    from hybrid.commands import status  # noqa: PLC0415 - see above

    return status.register


def _alerts() -> Register:
    from hybrid.commands import alerts  # noqa: PLC0415 - see above

    return alerts.register


def _console() -> Register:
    from hybrid.commands import console  # noqa: PLC0415 - see above

    return console.register


def _data() -> Register:
    from hybrid.commands import data  # noqa: PLC0415 - see above

    return data.register


def _letters() -> Register:
    from hybrid.commands import letters  # noqa: PLC0415 - see above

    return letters.register


def _batches() -> Register:
    from hybrid.commands import batches  # noqa: PLC0415 - see above

    return batches.register


def _costs() -> Register:
    from hybrid.commands import costs  # noqa: PLC0415 - see above

    return costs.register


PARTS = (
    Later(
        _stack,
        {
            "demo": "Start the local stack, run sample intents of every kind, show results and "
            "costs, stop it.",
            "up": "Run the local stack in the foreground until Ctrl-C.",
            "worker": "Run one orchestrator worker against KAFKA_BOOTSTRAP_SERVERS.",
            "recorder": "Run one ClickHouse recorder: attempts, outcomes and events from Kafka "
            "into ClickHouse.",
            "simulator": "Run the simulated providers (OpenAI and Azure OpenAI paths) with "
            "scripted faults.",
            "clickhouse-engine": None,
        },
    ),
    Later(
        _data,
        {
            "publish": "Publish intents from JSON Lines; a bad line is reported and stops nothing "
            "else.",
            "results": "Print results as JSON Lines.",
        },
    ),
    Later(_letters, {"dlq": "The dead letters."}),
    Later(
        _console,
        {
            "console": "Serve the operator's pages until Ctrl-C: what needs you, what it costs, "
            "what puts it right."
        },
    ),
    Later(
        _standing,
        {
            "status": "Show on one screen what waits, what runs, the providers, the recorder and "
            "today's spend."
        },
    ),
    Later(_alerts, {"alerts": "Show the alerts that are on, the newest first."}),
    Later(
        _hands,
        {
            "pause": "Hold work until it is resumed: all of it, a tenant's, a type's, or a "
            "provider's calls.",
            "resume": "Let work go on that was paused.",
        },
    ),
    Later(
        _cancelling,
        {"cancel": "End intents that have no outcome yet: waiting, put off or running."},
    ),
    Later(
        _forgetting,
        {"forget": "Make a person's content at rest unreadable, for ever; the bill stays."},
    ),
    Later(
        _stories,
        {"trace": "Tell one intent's story, while it runs and after: what it waited for, and why."},
    ),
    Later(_batches, {"batches": "Work that waits in a provider's batches."}),
    Later(_costs, {"costs": "What it cost, and where the time went."}),
    Later(
        _operate,
        {
            "topics": "The topics.",
            "migrate": "Apply the ClickHouse migrations and the retention; idempotent.",
            "schemas": "The messages' schemas.",
            "doctor": "Check configuration, connections, topics, tables, providers and clock.",
        },
    ),
)

app = typer.Typer(
    cls=group_of(*PARTS),
    name="hybrid",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        typer.echo(f"hybrid {version_of('hybrid-orchestrator')}")
        raise typer.Exit


@app.callback()
def hybrid(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="say which version this is"
        ),
    ] = False,
) -> None:
    """Durable, cost-accounted execution of language-model work over Kafka."""


#: What a full disk, or a file at its limit, answers to a write.
UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def main() -> None:
    """Run the command; every expected failure becomes one sentence on standard error."""
    _prepare_output()
    # What the client libraries complain about is said by us, once; workers log it as JSON.
    for library in ("aiokafka", "clickhouse_connect"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        app(standalone_mode=True)
    except HybridError as error:
        _end(str(error), error.exit_status)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        status = _status(error)
        if status is not None:
            _end(_sentence(error), status)
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            _end(f"the output cannot be written ({error.strerror})", 1)
        if os.environ.get("HYBRID_DEBUG"):  # noqa: TID251 - wanted before settings can be read
            raise
        _end(
            f"a defect, please report it ({type(error).__name__}); with HYBRID_DEBUG=1 the same "
            "command says where",
            1,
        )


def _prepare_output() -> None:
    """Let nothing that is printed fail for its signs, nor for a stream that was closed.

    What an encoding lacks is written as JSON escapes it, so that JSON stays JSON.
    """
    codecs.register_error("hybrid", _escaped)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as some services start their processes
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="hybrid")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _status(error: Exception) -> int | None:
    """Give the exit status of an error of the world around us; None where it is none."""
    from aiokafka.errors import KafkaError  # noqa: PLC0415 - these are slow, and seldom needed

    from streams.kafka.clients import BrokerUnavailableError  # noqa: PLC0415
    from streams.kafka.presence import TopicsError  # noqa: PLC0415
    from streams.kafka.rights import RightsError  # noqa: PLC0415
    from streams.messages.key_ring import KeyFileError  # noqa: PLC0415
    from streams.store.clickhouse import (  # noqa: PLC0415
        ClickHouseRefusedError,
        ClickHouseUnavailableError,
    )
    from streams.store.migrations import MigrationError  # noqa: PLC0415

    wrong = (
        BrokerUnavailableError, ClickHouseUnavailableError, TopicsError, RightsError, KeyFileError,
    )  # fmt: skip
    if isinstance(error, wrong):
        return 2
    failed = (ClickHouseRefusedError, MigrationError, KafkaError)
    return 1 if isinstance(error, failed) else None


def _sentence(error: Exception) -> str:
    """Say what happened; of a right that is missing, which one."""
    from streams.kafka.faults import FaultKind, kind_of, right_missing  # noqa: PLC0415

    if kind_of(error) is FaultKind.RIGHT:
        return f"the broker refuses this {right_missing(error)}; docs/security.md lists the rights"
    return str(error) or type(error).__name__


def _end(sentence: str, status: int) -> NoReturn:
    from rich.console import Console  # noqa: PLC0415 - takes a tenth of a second

    from hybrid.text import visible  # noqa: PLC0415

    logging.disable()  # the sentence is the last word
    Console(stderr=True, soft_wrap=True).print(
        f"hybrid: {visible(sentence)}", markup=False, highlight=False
    )
    sys.exit(status)
