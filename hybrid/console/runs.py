"""Runs of plans that this console carries on; another one, or a command, may take one over."""

import asyncio
from collections.abc import Callable

from aiokafka.errors import ProducerFenced

from agents.clock import Clock
from hybrid.console.fresh import sentence_of
from schemas.settings import Settings
from streams.triage.beginning import Options
from streams.triage.running import run_plan

__all__ = ["Runs"]


class Runs:
    """The runs at work here: one that is interrupted goes on when it is resumed."""

    def __init__(self, settings: Settings, *, clock: Clock, on_change: Callable[[], None]) -> None:
        """Begin without any; `on_change` hears that a run has moved."""
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._tasks: dict[str, asyncio.Task[None]] = {}
        #: Why a run does not go on here, by its plan.
        self.problems: dict[str, str] = {}

    def is_here(self, plan_id: str) -> bool:
        """Whether this process carries it on."""
        task = self._tasks.get(plan_id)
        return task is not None and not task.done()

    def start(self, plan_id: str, options: Options, *, anew: bool) -> None:
        """Begin a run, beside everything else; `anew`: go on with one, wherever it stood still."""
        if self.is_here(plan_id):
            if not anew:
                return
            self._tasks[plan_id].cancel()
        self.problems.pop(plan_id, None)
        self._tasks[plan_id] = asyncio.create_task(self._carry_on(plan_id, options))

    async def close(self) -> None:
        """Stop carrying runs on; what is not sent yet is not sent."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _carry_on(self, plan_id: str, options: Options) -> None:
        try:
            # How far it is, is read with all else: each of its steps would begin that anew.
            await run_plan(self._settings, plan_id, options, clock=self._clock)
        except ProducerFenced:
            self.problems[plan_id] = "another process has taken this run over"
        except Exception as error:  # noqa: BLE001 - the page says it, whatever it is
            self.problems[plan_id] = sentence_of(error)
        finally:
            self._on_change()
