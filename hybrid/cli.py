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
from aiokafka.errors import KafkaError
from rich.console import Console

from hybrid.commands import costs, data, operate, stack
from hybrid.errors import HybridError
from hybrid.text import visible
from streams.kafka.clients import BrokerUnavailableError
from streams.kafka.faults import FaultKind, kind_of, right_missing
from streams.kafka.presence import TopicsError
from streams.kafka.rights import RightsError
from streams.store.clickhouse import ClickHouseRefusedError, ClickHouseUnavailableError
from streams.store.migrations import MigrationError

__all__ = ["app", "main"]

app = typer.Typer(
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


for module in (stack, operate, data, costs):
    module.register(app)

#: Errors of the world around us → exit status.
STATUSES: dict[type[Exception], int] = {
    BrokerUnavailableError: 2,
    ClickHouseUnavailableError: 2,
    TopicsError: 2,
    RightsError: 2,
    ClickHouseRefusedError: 1,
    MigrationError: 1,
    KafkaError: 1,
}
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
    except tuple(STATUSES) as error:
        status = next(code for kind, code in STATUSES.items() if isinstance(error, kind))
        _end(_sentence(error), status)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
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


def _sentence(error: Exception) -> str:
    """Say what happened; of a right that is missing, which one."""
    if kind_of(error) is FaultKind.RIGHT:
        return f"the broker refuses this {right_missing(error)}; docs/security.md lists the rights"
    return str(error) or type(error).__name__


def _end(sentence: str, status: int) -> NoReturn:
    logging.disable()  # the sentence is the last word
    Console(stderr=True, soft_wrap=True).print(
        f"hybrid: {visible(sentence)}", markup=False, highlight=False
    )
    sys.exit(status)
