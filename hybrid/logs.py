"""Logs: structlog, JSON or console, one closed vocabulary; optional CloudWatch embedded metrics."""

import json
import logging
import sys
from typing import Any

import structlog

from agents.clock import Clock
from agents.log import Log
from schemas.settings import Settings
from schemas.vocabulary import LogEvent

__all__ = ["build_log"]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
#: Fields whose numbers become metrics in the embedded metric format.
METRIC_FIELDS = ("call_ms", "total_ms")
STARTED = frozenset({LogEvent.WORKER_STARTED, LogEvent.RECORDER_STARTED})
#: Said once in docs/security.md, not at each connection.
KNOWN = "Sending username and password in the clear"


class _LibraryHandler(logging.Handler):
    """Passes on that a library has warned, and its words without what it put into them.

    What is put in may quote a record, and so may a text that is put together already.
    """

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == KNOWN:
            return
        level = "error" if record.levelno >= logging.ERROR else "warning"
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self._log(
            LogEvent.LIBRARY_WARNING,
            level=level,
            library=record.name.split(".")[0],
            where=f"{record.module}:{record.lineno}",
            message=_words(record),
            error=kind,
        )


def _words(record: logging.LogRecord) -> str:
    """Give the text with its places, such as %s, left open; nothing of what goes into them."""
    if record.args and isinstance(record.msg, str):
        return record.msg
    return "a warning whose text may quote a record; `where` names the line that wrote it"


def build_log(settings: Settings, *, process: str, clock: Clock) -> Log:
    """Set up logging for this process; the only place that does."""
    form = settings.hybrid_log_format or ("console" if sys.stderr.isatty() else "json")
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    floor = LEVELS[settings.hybrid_log_level]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(floor),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logger = structlog.get_logger().bind(process=process)

    def log(event: LogEvent, /, *, level: str = "info", **fields: object) -> None:
        if event in STARTED:
            logging.getLogger("aiokafka").setLevel(logging.NOTSET)
        if LEVELS[level] < floor and not settings.hybrid_emf_namespace:
            return
        kept = {name: value for name, value in fields.items() if value is not None}
        logger.log(LEVELS[level], event.value, **kept)
        if settings.hybrid_emf_namespace:
            _embed_metrics(settings.hybrid_emf_namespace, event, kept, clock)

    # A library that sets the root logger to DEBUG makes every debug record cost (+28 % measured).
    root = logging.getLogger()
    root.handlers = [_LibraryHandler(log)]
    root.setLevel(logging.WARNING)
    # Why a process cannot start is one sentence of ours; the client's words come before it.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return log


def _embed_metrics(
    namespace: str, event: LogEvent, fields: dict[str, object], clock: Clock
) -> None:
    """Write one line in CloudWatch's embedded metric format, to standard output."""
    numbers = {name: fields[name] for name in METRIC_FIELDS if name in fields}
    if not numbers:
        return
    line = {
        "_aws": {
            "Timestamp": clock.now_ms(),
            "CloudWatchMetrics": [
                {
                    "Namespace": namespace,
                    "Dimensions": [["event"]],
                    "Metrics": [{"Name": name, "Unit": "Milliseconds"} for name in numbers],
                }
            ],
        },
        "event": event.value,
        **numbers,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
