"""What the pages read, each at most every few seconds for all readers together."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from agents.clock import Clock
from hybrid.announced import running_stack
from hybrid.console.fresh import Fresh, Kept
from hybrid.doctor import Check, examine
from hybrid.standing import Standing, gather
from schemas.settings import Settings
from schemas.vocabulary import LetterState
from streams.alerts.delivering import Delivering, delivering
from streams.alerts.standing import AlertStanding, read_alerts
from streams.bill.budgets import BudgetLevel, budget_levels
from streams.bill.costs import Table, latency, reliability, total
from streams.bill.flow import Flow, ended_by_minute
from streams.bill.forecast import Trend
from streams.bill.months import month_ahead
from streams.publishing.dead_letters import Selection
from streams.store.clickhouse import ClickHouse, ClickHouseUnavailableError
from streams.store.spelled import spelled
from streams.triage.book import Book, read_book
from streams.triage.deeds import Deeds, read_deeds
from streams.triage.overview import Overview, overview

__all__ = ["QUERY_LIMIT_S", "Sources"]

T = TypeVar("T")
#: A page's query is given up after so long.
QUERY_LIMIT_S = 10.0
#: Answers about what was asked for in an address are good for so many seconds, for all who ask the
#: same; so many addresses are known at once.
KEEP_S = 10.0
MOST_ANSWERS = 64
#: Connections to ClickHouse that wait to be used again: to open one costs two questions.
MOST_IDLE = 4
#: Alerts are read from so long ago on: as long as Kafka keeps them.
ALERTS_OF = timedelta(days=30)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ProviderHour:
    """How the calls of the last hour ended, and how long they took, by provider."""

    reliability: Table
    latency: Table


class Sources:
    """Questions with answers that are kept for a while."""

    def __init__(self, settings: Settings, addresses: list[str], *, clock: Clock) -> None:
        """Keep where workers say how they are (`/metrics`); none = those of a local stack."""
        self._settings = settings
        self._addresses = addresses
        self._clock = clock
        self.standing: Fresh[Standing] = Fresh(self._standing, clock=clock, keep_s=2)
        self.open_letters: Fresh[Overview] = Fresh(self._open_letters, clock=clock, keep_s=5)
        self.book: Fresh[Book] = Fresh(lambda: read_book(settings), clock=clock, keep_s=1)
        self.alerts: Fresh[list[AlertStanding]] = Fresh(self._alerts, clock=clock, keep_s=5)
        self.webhook: Fresh[Delivering] = Fresh(lambda: delivering(settings), clock=clock, keep_s=5)
        self.budgets: Fresh[list[BudgetLevel]] = Fresh(self._budgets, clock=clock, keep_s=10)
        self.flow: Fresh[Flow] = Fresh(self._flow, clock=clock, keep_s=10)
        self.provider_hour: Fresh[ProviderHour] = Fresh(self._hour, clock=clock, keep_s=10)
        self.deeds: Fresh[Deeds] = Fresh(lambda: read_deeds(settings), clock=clock, keep_s=2)
        self.hour_usd: Fresh[Decimal] = Fresh(self._hour_usd, clock=clock, keep_s=30)
        self.checks: Fresh[list[Check]] = Fresh(lambda: examine(settings), clock=clock, keep_s=15)
        self.month: Fresh[dict[str, Trend]] = Fresh(self._month, clock=clock, keep_s=300)
        self.kept = Kept(clock=clock, keep_s=KEEP_S, most=MOST_ANSWERS)
        self._idle: deque[ClickHouse] = deque()
        #: Hears of each query; for those who count them.
        self.on_query: Callable[[str, Mapping[str, object]], None] | None = None

    def changed(self) -> None:
        """Have what dead letters stand at read anew: somebody has just done something."""
        self.open_letters.forget()
        self.book.forget()
        self.deeds.forget()

    async def warm(self) -> None:
        """Begin to read what the first page shows."""
        await self.standing.get(wait_s=0)
        await self.open_letters.get(wait_s=0)
        await self.alerts.get(wait_s=0)
        await self.budgets.get(wait_s=0)
        await self.flow.get(wait_s=0)

    async def asked(self, question: Callable[[ClickHouse], T]) -> T:
        """Ask ClickHouse; raises ClickHouseUnavailableError, ClickHouseRefusedError."""
        return await asyncio.to_thread(self._ask, question)

    async def noted(self, question: Callable[[ClickHouse], T]) -> tuple[T, list[str]]:
        """Ask as `asked` does; gives the SQL of it too."""
        statements: list[str] = []

        def ask(store: ClickHouse) -> T:
            hears = store.on_query

            def hear(statement: str, parameters: Mapping[str, object]) -> None:
                statements.append(spelled(statement, parameters))
                if hears is not None:
                    hears(statement, parameters)

            store.on_query = hear
            return question(store)

        return await self.asked(ask), statements

    def _ask(self, question: Callable[[ClickHouse], T]) -> T:
        if self._settings.clickhouse_url is None:
            message = "no ClickHouse is configured: set CLICKHOUSE_URL"
            raise ClickHouseUnavailableError(message)
        try:
            store = self._idle.pop()
        except IndexError:
            store = ClickHouse(self._settings, timeout_s=QUERY_LIMIT_S, reads=True)
        store.on_query = self.on_query
        try:
            answer = question(store)
        except BaseException:
            store.close()  # it may be the connection's fault
            raise
        if len(self._idle) < MOST_IDLE:
            self._idle.append(store)
        else:
            store.close()
        return answer

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    async def _standing(self) -> Standing:
        stack = (None if self._addresses else running_stack()) or {}
        is_its = stack.get("kafka") == self._settings.kafka_bootstrap_servers
        found = [str(one) for one in (stack.get("metrics") or []) if is_its]
        return await gather(self._settings, self._addresses or found, now=self._clock.now())

    async def _open_letters(self) -> Overview:
        return await overview(self._settings, Selection(state=LetterState.OPEN))

    async def _alerts(self) -> list[AlertStanding]:
        return await read_alerts(self._settings, since=self._clock.now() - ALERTS_OF)

    async def _budgets(self) -> list[BudgetLevel]:
        return await budget_levels(self._settings, now=self._clock.now())

    async def _flow(self) -> Flow:
        return await self.asked(lambda store: ended_by_minute(store, now=self._clock.now()))

    async def _hour_usd(self) -> Decimal:
        since = self._clock.now() - HOUR
        table = await self.asked(lambda store: total(store, since=since))
        return Decimal(table.named()[0]["cost_usd"] or 0)

    async def _month(self) -> dict[str, Trend]:
        today = self._clock.now().date()
        return await self.asked(lambda store: month_ahead(store, today=today))

    async def _hour(self) -> ProviderHour:
        since: datetime = self._clock.now() - HOUR

        def both(store: ClickHouse) -> ProviderHour:
            by = ("provider",)
            return ProviderHour(
                reliability(store, by=by, since=since), latency(store, by=by, since=since)
            )

        return await self.asked(both)
