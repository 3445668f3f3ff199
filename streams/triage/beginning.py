"""Whether a plan may be run, how it is run, and where its run stands; pure."""

from dataclasses import dataclass
from decimal import Decimal

from agents.clock import Clock
from schemas.base import format_time
from schemas.operations import ProgressRecord, RunRecord
from schemas.vocabulary import RunState
from streams.triage.book import OVER, Book, Planned

__all__ = ["Options", "PlanError", "begun", "progress_of", "run_record", "usable"]


class PlanError(Exception):
    """Raised when a plan cannot be run; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a plan is run; what is None or false is as it was where the run is gone on with."""

    #: Records a second.
    rate: float | None = None
    #: What the replays may cost together; what has no outcome yet counts with its bound.
    max_usd: Decimal | None = None
    why: str = ""
    by: str = ""
    #: Whether the first few are waited for.
    canary: bool = False


def usable(book: Book, plan_id: str, clock: Clock) -> Planned:
    """Give a plan that may be run now; raises PlanError."""
    planned = book.plans.get(plan_id)
    if planned is None:
        message = f"there is no plan {plan_id}: make one with `hybrid dlq plan`"
        raise PlanError(message)
    if planned.run is None and clock.now() > planned.plan.expires_at:
        message = (
            f"plan {plan_id} was valid until {format_time(planned.plan.expires_at)}: prices, "
            "budgets and providers may have moved; make a new one with `hybrid dlq plan`"
        )
        raise PlanError(message)
    if not planned.whole:
        message = f"the list of plan {plan_id} is not what was planned: make a new plan"
        raise PlanError(message)
    return planned


def begun(book: Book, plan_id: str, clock: Clock) -> Planned:
    """Give a plan whose run was begun and is not over; raises PlanError."""
    planned = usable(book, plan_id, clock)
    if planned.state is None:
        message = f"plan {plan_id} was not begun: hybrid dlq replay {plan_id}"
        raise PlanError(message)
    if planned.state in OVER:
        message = f"the run of plan {plan_id} is {planned.state.value}: make a new plan"
        raise PlanError(message)
    return planned


def run_record(planned: Planned, options: Options, clock: Clock) -> RunRecord:
    """Give how a plan is run: as is asked for now, else as it was."""
    before = planned.run or RunRecord(plan_id=planned.plan.plan_id, started_at=clock.now())
    return RunRecord(
        plan_id=before.plan_id,
        started_at=before.started_at,
        why=options.why or before.why,
        by=options.by or before.by,
        rate=options.rate or before.rate,
        max_usd=before.max_usd if options.max_usd is None else options.max_usd,
        canary=options.canary or before.canary,
    )


def progress_of(planned: Planned, clock: Clock) -> ProgressRecord:
    """Say how far a plan's run is."""
    known = planned.progress or ProgressRecord(
        plan_id=planned.plan.plan_id, state=RunState.RUNNING, updated_at=clock.now()
    )
    return known.model_copy(update={"state": planned.state or RunState.RUNNING})
