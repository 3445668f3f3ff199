"""One worker's life: start, run until it is told to stop or must end, and a clean stop."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import KafkaError

from agents.capacity.turns import Capacity
from agents.clock import Clock
from agents.log import Log
from agents.providers.adapters import Provider
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.kafka.diagnosis import unavailable
from streams.kafka.journal import AttemptJournal
from streams.kafka.orphans import orphaned_delays, what_to_do
from streams.kafka.rights import require_rights, worker_rights
from streams.kafka.topics import check_topics, forgets_too_soon, require_usable
from streams.lanes.lane import Lane
from streams.membership.faust_app import App
from streams.membership.lease import Lease
from streams.membership.single_instance import require_free_instance
from streams.worker.dispatcher import Dispatcher
from streams.worker.flow import Flow
from streams.worker.followers import Followers
from streams.worker.rebalance import Rebalance
from streams.worker.supervisor import Supervisor
from streams.worker.tallies import Tallies

__all__ = ["Worker", "WorkerParts"]

#: After the drain budget, whatever a stop still does may take this long.
STOP_GRACE_S = 15

#: How often Faust is asked whether it has crashed, in seconds; it tells nobody by itself.
CRASH_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker is made of; `streams.worker.build` puts it together."""

    supervisor: Supervisor
    journal: AttemptJournal
    lease: Lease
    dispatcher: Dispatcher
    rebalance: Rebalance
    capacity: Capacity
    flow: Flow
    followers: Followers
    #: What looks after something for as long as the worker runs, by what it is called.
    watches: Mapping[str, Callable[[], Coroutine[None, None, None]]]
    tallies: Tallies
    app: App
    providers: tuple[Provider, ...]


class Worker:
    """Runs until `stop`; everything of it lives on one loop (Faust's consumer has a thread)."""

    def __init__(
        self, settings: Settings, parts: WorkerParts, *, name: str, clock: Clock, log: Log
    ) -> None:
        """Keep the parts as `streams.worker.build` made them; `run` starts them."""
        self._settings = settings
        self._parts = parts
        self._name = name
        self._clock = clock
        self._log = log

    # ── what is seen from outside ───────────────────────────────────────────────────────────

    @property
    def ready(self) -> bool:
        """Whether every lane that is ours is open, work is taken, and Kafka hears us."""
        return self._parts.rebalance.ready

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Whom it calls."""
        return self._parts.providers

    @property
    def lanes(self) -> dict[int, Lane]:
        """The lanes that are here now, by number."""
        return self._parts.rebalance.lanes

    @property
    def dispatcher(self) -> Dispatcher:
        """What waits and what runs."""
        return self._parts.dispatcher

    @property
    def capacity(self) -> Capacity:
        """Whether and how fast providers can be called."""
        return self._parts.capacity

    @property
    def tallies(self) -> Tallies:
        """What this worker has committed and called."""
        return self._parts.tallies

    @property
    def failure(self) -> BaseException | None:
        """Why it ended, when nobody had asked it to."""
        return self._parts.supervisor.failure

    # ── life ────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Run until `stop`; raises TopicsError, RightsError, InstanceTakenError."""
        parts, supervisor = self._parts, self._parts.supervisor
        await require_rights(self._settings, worker_rights(self._settings))
        checked = await check_topics(self._settings)
        parts.rebalance.partitions = require_usable(self._settings, checked)
        await self._look_for_orphans()
        if (sentence := forgets_too_soon(self._settings, checked)) is not None:
            self._log(LogEvent.LEDGER_FORGETS, level="warning", why=sentence)
        await require_free_instance(self._settings, clock=self._clock, log=self._log)
        try:
            await asyncio.wait_for(parts.journal.start(), 20)
        except (KafkaError, TimeoutError) as error:
            raise await unavailable(self._settings, error) from error
        self._log(LogEvent.WORKER_STARTED, worker=self._name, pid=os.getpid())
        parts.lease.begin()
        supervisor.keep("the lease", parts.lease.tick_forever())
        supervisor.keep("the dispatcher", parts.dispatcher.dispatch_forever())
        for name, watch in parts.watches.items():
            supervisor.keep(name, watch())
        supervisor.keep("pruning the ledgers", parts.rebalance.prune_ledgers_forever())
        await parts.followers.start(supervisor)
        app = asyncio.create_task(parts.app.start())
        crash = asyncio.create_task(self._until_crashed(app))
        try:
            await supervisor.until_stopped()
        finally:
            crash.cancel()
            await self._stop_cleanly(app)

    async def _look_for_orphans(self) -> None:
        """Say where work waits that this worker will not read; it starts all the same."""
        with suppress(KafkaError, TimeoutError):  # what cannot be seen now is for the doctor
            delays = await orphaned_delays(self._settings)
            if delays:
                why = what_to_do(self._settings, delays)
                self._log(LogEvent.DEFERRED_ORPHANED, level="warning", why=why)

    def stop(self) -> None:
        """Ask for a clean stop."""
        self._parts.supervisor.stop()

    async def _stop_cleanly(self, app: asyncio.Task[Any]) -> None:
        """Finish calls within the drain budget, commit, leave; bounded whatever happens."""
        parts, budget = self._parts, self._settings.hybrid_drain_budget
        parts.supervisor.stop()
        self._log(LogEvent.WORKER_STOPPING, in_flight=parts.rebalance.in_flight)
        watchdog = threading.Timer(budget + STOP_GRACE_S, os._exit, args=(0,))
        watchdog.daemon = True
        watchdog.start()
        parts.dispatcher.stop()
        await parts.rebalance.drain(budget)
        await parts.flow.commit_offsets(3)
        parts.dispatcher.suspend()
        await parts.rebalance.close()
        app.cancel()
        with suppress(Exception, asyncio.CancelledError):
            await asyncio.wait_for(parts.app.stop(), 8)
        parts.supervisor.cancel()
        await parts.journal.stop()
        for provider in parts.providers:
            with suppress(Exception):  # nothing depends on it any more
                await asyncio.wait_for(provider.close(), 2)
        watchdog.cancel()
        self._log(LogEvent.WORKER_STOPPED, worker=self._name, outcomes=dict(parts.tallies.outcomes))

    async def _until_crashed(self, start: asyncio.Task[Any]) -> None:
        """Fail the worker when the Faust app could not start, or has crashed."""
        app, supervisor = self._parts.app, self._parts.supervisor
        while not app._crashed.is_set():  # noqa: SLF001 - mode's only sign of a crash
            if start.done() and not start.cancelled() and start.exception() is not None:
                supervisor.fail(start.exception() or RuntimeError())
                return
            await self._clock.sleep(CRASH_LOOK_S)
        supervisor.fail(app._crash_reason or RuntimeError("the consumer crashed"))  # noqa: SLF001
