"""What a worker does when providers fail, budgets are reached, or only dead letters come."""

from collections.abc import Callable
from typing import Protocol, assert_never

from agents.capacity.breaker import BreakerState
from agents.capacity.turns import BreakerChange
from agents.clock import Clock, Dice, uuid7
from agents.deciding.budgets import Crossing
from agents.log import Log
from agents.task import Completed, Outcome
from schemas.base import format_usd
from schemas.events import WorkflowEvent
from schemas.topics import Topics
from schemas.vocabulary import AlertName, EventName, LogEvent
from streams.alerts.raising import Alerts
from streams.kafka.journal import AttemptJournal
from streams.messages.records import OutRecord
from streams.worker.dead_letter_breaker import DeadLetterBreaker

__all__ = ["Incidents", "WorkFlow"]

#: A worker that mostly writes dead letters takes nothing for this long.
HALT_S = 60.0


class WorkFlow(Protocol):
    """What trouble changes at a worker: whether it takes work, and which."""

    def look_again(self) -> None:
        """See what waits in a new light."""
        ...

    def halt_for(self, seconds: float, *, then: Callable[[], None]) -> None:
        """Take no work for a while."""
        ...


class Incidents:
    """Turns changes of health, and outcomes, into log lines, events, alerts and halts."""

    def __init__(
        self,
        topics: Topics,
        *,
        flow: WorkFlow,
        journal: AttemptJournal,
        clock: Clock,
        dice: Dice,
        worker: str,
        log: Log,
    ) -> None:
        """Begin without incidents; `journal` writes their events and alerts."""
        self._topics = topics
        self._flow = flow
        self._journal = journal
        self._clock = clock
        self._dice = dice
        self._worker = worker
        self._log = log
        self._alerts = Alerts(topics, post=journal.post_record, clock=clock, log=log)
        self._breaker = DeadLetterBreaker()
        self._halted = False

    def health_changed(self, change: BreakerChange) -> None:
        """Say that a provider's breaker has moved, and have what waits for it looked at again."""
        cause = change.cause.value if change.cause else None
        moved = {
            "provider": change.provider,
            "before": change.before.value,
            "after": change.after.value,
            "cause": cause,
        }
        self._log(LogEvent.PROVIDER_HEALTH_CHANGED, level="warning", **moved)
        event = WorkflowEvent(
            event_id=uuid7(self._clock.now_ms(), self._dice),
            name=EventName.PROVIDER_HEALTH_CHANGED,
            intent_id="",
            worker=self._worker,
            details=moved,
            occurred_at=self._clock.now(),
        )
        self._journal.post_record(
            OutRecord(self._topics.events, change.provider.encode(), event.to_json())
        )
        match change.after:
            case BreakerState.DOWN:
                self._alerts.raised(
                    AlertName.PROVIDER_DOWN,
                    change.provider,
                    f"provider {change.provider} refuses all calls ({cause}): work waits, or goes "
                    "to another provider, until it answers again",
                )
            case BreakerState.OPEN:
                self._alerts.raised(
                    AlertName.PROVIDER_FAILING,
                    change.provider,
                    f"calls to provider {change.provider} fail ({cause}): none are made until a "
                    "probe succeeds",
                )
            case BreakerState.CLOSED:
                self._alerts.over(AlertName.PROVIDER_DOWN, change.provider)
                self._alerts.over(AlertName.PROVIDER_FAILING, change.provider)
            case BreakerState.HALF_OPEN:
                pass
            case _:
                assert_never(change.after)
        self._flow.look_again()

    def crossed(self, crossing: Crossing) -> None:
        """Say that a tenant has reached a budget, or the share of it that is worth an alert."""
        budget = crossing.budget
        follows = {
            "defer": "its intents wait for the next period",
            "dead_letter": "its intents become dead letters until the next period",
        }[budget.then]
        self._alerts.raised(
            AlertName.BUDGET_HARD if crossing.hard else AlertName.BUDGET_SOFT,
            f"{crossing.tenant}/{budget.per}/{crossing.period}",
            f"tenant {crossing.tenant} has spent {format_usd(crossing.spent_usd)} of "
            f"{format_usd(budget.usd)} USD in the {budget.per} {crossing.period}"
            + (f": {follows}" if crossing.hard else ""),
            tenant=crossing.tenant,
            severity="critical" if crossing.hard else "warning",
        )

    def note(self, outcome: Outcome) -> None:
        """Note an outcome; stops the dispatcher when nearly all are dead letters."""
        if self._halted:
            return  # what was in flight when it stopped
        if isinstance(outcome, Completed):
            self._alerts.over(AlertName.MOSTLY_DEAD_LETTERS, self._worker)
        if not self._breaker.note(outcome):
            return
        self._halted = True
        self._log(LogEvent.WORKER_HALTED, level="error", for_s=HALT_S)
        self._alerts.raised(
            AlertName.MOSTLY_DEAD_LETTERS,
            self._worker,
            f"most of the last outcomes of {self._worker} are dead letters for reasons that are "
            f"not the intents' own; it takes no work for {HALT_S:g} s, then tries again",
        )
        self._flow.halt_for(HALT_S, then=self._resume)

    def _resume(self) -> None:
        self._halted = False
        self._breaker.forget()
        self._log(LogEvent.WORKER_RESUMED)
