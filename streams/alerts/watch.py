"""The watch: asks ClickHouse at regular times what is worth an alert.

It runs in the recorder, which knows when ClickHouse has everything. Of several recorders the one
that has the first partition of the attempts watches. What is raised is on `workflow.alerts` only,
so that is where a recorder that takes over learns it.
"""

import asyncio
from typing import Any, Protocol

from pydantic import ValidationError

from agents.clock import Clock
from agents.log import Log
from schemas.events import Alert
from schemas.settings import Settings
from schemas.vocabulary import AlertName, LogEvent
from streams.alerts.pauses import Pauses, lasting
from streams.alerts.raising import Alerts
from streams.alerts.rules import RULES, Rule
from streams.failpoints import FailPoints
from streams.kafka.clients import BrokerUnavailableError
from streams.kafka.faults import is_awaited
from streams.kafka.journal import AttemptJournal
from streams.kafka.patience import kept_running
from streams.kafka.reading import read_topic
from streams.store.clickhouse import ClickHouse, ClickHouseRefusedError, ClickHouseUnavailableError

__all__ = ["Recording", "Watch", "watch"]

RETRY_S = 5.0
HOUR_S = 3600.0
#: Alerts about the recorder itself, which every recorder raises for itself.
OF_RECORDER = frozenset({AlertName.RECORDER_BEHIND, AlertName.ROWS_SET_ASIDE})

#: What a query found: subject, tenant, value, sentence.
Found = tuple[str, str, float, str]


class Recording(Protocol):
    """What the watch must know of the recorder that it runs in."""

    @property
    def leads(self) -> bool:
        """Whether this recorder is the one that watches."""
        ...

    @property
    def held_up_s(self) -> float:
        """Seconds for which ClickHouse has not taken what there is; 0 = it takes it."""
        ...

    @property
    def held_up_by(self) -> str:
        """What ClickHouse said when it last took no rows."""
        ...

    @property
    def rows_set_aside(self) -> int:
        """How many records are not in ClickHouse because they are no valid rows."""
        ...


class Watch:
    """Compares the record with the limits of `[alerts]`."""

    def __init__(
        self,
        settings: Settings,
        *,
        name: str,
        recording: Recording,
        alerts: Alerts,
        clock: Clock,
        log: Log,
    ) -> None:
        """Keep the limits, and the recorder to ask; `name` is what alerts call it."""
        self._settings = settings
        self._spec = settings.alerts
        self._name = name
        self._recording = recording
        self._alerts = alerts
        self._clock = clock
        self._log = log
        self._store: ClickHouse | None = None
        self._seen: dict[tuple[AlertName, str], float] = {}
        #: Whether it led when it last looked; None before the first look.
        self._led: bool | None = None
        self._set_aside = 0
        self._pauses = Pauses(settings)

    async def run(self) -> None:
        """Look every `[alerts] every` seconds until cancelled."""
        try:
            while True:
                await self._clock.sleep(self._spec.every)
                try:
                    await self.look()
                except (
                    ClickHouseUnavailableError,
                    ClickHouseRefusedError,
                    BrokerUnavailableError,
                ) as error:
                    self._log(LogEvent.WATCH_DELAYED, level="warning", error=str(error))
                    self._close()
        finally:
            self._close()

    async def look(self) -> None:
        """Look once; raises what ClickHouse or the broker says when one is away."""
        leads = self._recording.leads
        if leads != self._led:
            await self._recall()
            self._led = leads
        self._mind_recorder()
        if leads:
            await self._mind_pauses()
        if not leads or self._recording.held_up_s > 0:
            # Rows that have not come yet must not end an alert.
            return
        for rule, found in await asyncio.to_thread(self._ask):
            self._settle(rule.name, found, hold_s=rule.hold_s, severity=rule.severity)

    def _ask(self) -> list[tuple[Rule, list[Found]]]:
        if self._store is None:
            self._store = ClickHouse(self._settings)
        answers: list[tuple[Rule, list[Found]]] = []
        for rule in RULES:
            rows: list[Any] = []
            if rule.limit(self._spec) is not None:
                _, rows = self._store.rows(rule.sql, rule.parameters(self._spec))
            answers.append((rule, rows))
        return answers

    def _settle(self, name: AlertName, found: list[Found], *, hold_s: float, severity: str) -> None:
        """Raise what was found, and end what has not been found for `hold_s` seconds."""
        now = self._clock.monotonic()
        for subject, tenant, _value, message in found:
            self._seen[name, subject] = now
            self._alerts.raised(name, subject, message, tenant=tenant, severity=severity)
        above = {subject for subject, *_ in found}
        for subject in self._alerts.subjects(name):
            last = self._seen.setdefault((name, subject), now)
            if subject not in above and now - last >= hold_s:
                self._alerts.over(name, subject)
                del self._seen[name, subject]

    async def _mind_pauses(self) -> None:
        """Raise an alert about each pause that has lasted too long; over with the pause."""
        found: list[Found] = []
        if self._spec.paused:
            now = self._clock.now()
            found = lasting(await self._pauses.read(now), now, self._spec.paused)
        self._settle(AlertName.PAUSED, found, hold_s=0, severity="warning")

    def _mind_recorder(self) -> None:
        held_up_s = self._recording.held_up_s
        if self._spec.behind and held_up_s > self._spec.behind:
            self._alerts.raised(
                AlertName.RECORDER_BEHIND,
                self._name,
                f"ClickHouse has taken no rows for {held_up_s:.0f} s: results go on, costs are "
                f"behind and nothing is lost; it says: {self._recording.held_up_by}",
            )
        elif held_up_s == 0:
            self._alerts.over(AlertName.RECORDER_BEHIND, self._name)
        self._mind_rows(self._recording.rows_set_aside)

    def _mind_rows(self, set_aside: int) -> None:
        """Raise an alert about records that are missing; over after an hour without a new one."""
        found: list[Found] = []
        if set_aside > self._set_aside:
            self._set_aside = set_aside
            message = (
                f"{set_aside} records are not in ClickHouse: they are no rows, or were refused for "
                "themselves; the recorder's log names them, Kafka has them, and "
                "`hybrid costs rebuild` takes them once that is mended"
            )
            found = [(self._name, "default", float(set_aside), message)]
        self._settle(AlertName.ROWS_SET_ASIDE, found, hold_s=HOUR_S, severity="critical")

    async def _recall(self) -> None:
        """Learn from the topic what is raised; raises BrokerUnavailableError."""
        self._alerts.forget()
        self._seen.clear()
        ours = {AlertName.PAUSED, *(rule.name for rule in RULES)}
        async for record in read_topic(self._settings, self._settings.topics.alerts):
            try:
                alert = Alert.model_validate_json(record.value or b"")
            except ValidationError:
                continue  # somebody else's
            mine = alert.name in OF_RECORDER and alert.subject == self._name
            if mine or (self._recording.leads and alert.name in ours):
                self._alerts.recall(alert)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store = None


async def watch(
    settings: Settings, *, name: str, recording: Recording, clock: Clock, log: Log
) -> None:
    """Watch until cancelled; waits for a broker that is away."""

    async def once() -> None:
        journal = AttemptJournal(settings, clock=clock, log=log, fail_points=FailPoints(None))
        try:
            await journal.start()
            alerts = Alerts(settings.topics, post=journal.post_record, clock=clock, log=log)
            await Watch(
                settings, name=name, recording=recording, alerts=alerts, clock=clock, log=log
            ).run()
        finally:
            await journal.stop()

    def tell(error: BaseException) -> None:
        log(LogEvent.WATCH_DELAYED, level="warning", error=type(error).__name__)

    await kept_running(once, clock, passes=is_awaited, tell=tell, pause_s=RETRY_S)
