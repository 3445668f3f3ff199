"""How a process of the product ends: cleanly at the first signal, at once at the second."""

import asyncio
import os
import signal
from collections.abc import Callable

__all__ = ["on_signals"]

#: What a shell reports of a process that Ctrl-C ended.
INTERRUPTED = 130


def on_signals(stop: Callable[[], object]) -> None:
    """Call `stop` at the first SIGTERM or SIGINT; end the process at the second."""
    loop = asyncio.get_running_loop()
    asked = False

    def on_signal() -> None:
        nonlocal asked
        if asked:
            os._exit(INTERRUPTED)
        asked = True
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
