"""Runs of plans: `hybrid dlq runs|pause|resume|stop`."""

import asyncio
from typing import Annotated

import typer

from agents.clock import SystemClock
from hybrid.commands.common import ColumnsOption, FormatOption, WideOption
from hybrid.commands.plans import MaxUsd, Rate, carry_out
from hybrid.config import load_settings, need_kafka
from hybrid.errors import HybridError
from hybrid.moneys import usd_of
from hybrid.printing import Format, View, console, print_table
from hybrid.whoami import who_am_i
from schemas.base import format_time, format_usd
from schemas.operations import ControlRecord
from schemas.settings import Settings
from schemas.vocabulary import RunState
from streams.triage.beginning import Options, PlanError, begun, progress_of
from streams.triage.book import Planned, read_book
from streams.triage.journal import write_operations

__all__ = ["register"]

PlanId = Annotated[str, typer.Argument(metavar="PLAN", help="as `hybrid dlq plan` names it")]

RUNS = (
    "plan", "state", "planned", "sent", "passed_over", "not_sent", "expected_usd", "most_usd",
    "max_usd", "rate", "started_at", "updated_at", "by", "why", "said",
)  # fmt: skip
RANK = (
    "plan", "state", "sent", "planned", "not_sent", "said", "why", "updated_at", "expected_usd",
    "most_usd", "max_usd", "passed_over", "by", "started_at", "rate",
)  # fmt: skip


def register(dlq: typer.Typer) -> None:
    """Add the commands."""
    dlq.command("runs")(dlq_runs)
    dlq.command("pause")(dlq_pause)
    dlq.command("resume")(dlq_resume)
    dlq.command("stop")(dlq_stop)


def dlq_runs(
    wide: WideOption = False, columns: ColumnsOption = None, form: FormatOption = Format.TABLE
) -> None:
    """List the runs of plans, the newest first: how far each is, and why it stands.

    Example: `hybrid dlq runs`
    """
    view = View(wide, columns, RANK)
    view.chosen(RUNS)
    settings = need_kafka(load_settings())
    book = asyncio.run(read_book(settings))
    begun = [one for one in book.plans.values() if one.run is not None]
    begun.sort(key=lambda one: one.plan.made_at, reverse=True)
    if not begun and form is Format.TABLE:
        console.print("no plan was run: make one with `hybrid dlq plan`", highlight=False)
        return
    print_table(RUNS, [_run_line(one) for one in begun], form, view=view)


def dlq_pause(plan: PlanId) -> None:
    """Let a run send nothing more until it is resumed.

    Example: `hybrid dlq pause p-3f0c2a91d7be`
    """
    _control(plan, RunState.PAUSED)
    typer.echo(f"{plan} is paused; go on with: hybrid dlq resume {plan}")


def dlq_resume(
    plan: PlanId,
    rate: Rate = None,
    max_usd: MaxUsd = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Go on with a run, here: one that was paused, or whose process is gone.

    Example: `hybrid dlq resume p-3f0c2a91d7be --max-usd 30`
    """
    settings = need_kafka(load_settings())
    planned = _begun(settings, plan)
    carry_out(settings, planned.plan, Options(rate, usd_of(max_usd), by=who_am_i()), form)


def dlq_stop(plan: PlanId) -> None:
    """End a run for good; what it has sent cannot be called back.

    Example: `hybrid dlq stop p-3f0c2a91d7be`
    """
    planned = _control(plan, RunState.STOPPED)
    sent = planned.progress.sent if planned.progress else 0
    typer.echo(
        f"{plan} is stopped; {sent} of {planned.plan.count} had been sent, which cannot be called "
        "back"
    )


def _begun(settings: Settings, plan: str) -> Planned:
    """Give a plan whose run is not over; raises HybridError."""
    book = asyncio.run(read_book(settings))
    try:
        return begun(book, plan, SystemClock())
    except PlanError as error:
        raise HybridError(str(error)) from None


def _control(plan: str, wanted: RunState) -> Planned:
    settings = need_kafka(load_settings())
    planned = _begun(settings, plan)
    record = ControlRecord(plan_id=plan, wanted=wanted, by=who_am_i(), at=SystemClock().now())
    asyncio.run(write_operations(settings, [record]))
    return planned


def _run_line(planned: Planned) -> tuple[object, ...]:
    plan, run, progress = planned.plan, planned.run, progress_of(planned, SystemClock())
    passed = sum(progress.skipped.values())
    return (
        plan.plan_id,
        planned.state.value if planned.state else "",
        plan.count,
        progress.sent,
        passed,
        plan.count - progress.sent - passed,
        None if plan.expected_usd is None else format_usd(plan.expected_usd),
        None if plan.most_usd is None else format_usd(plan.most_usd),
        format_usd(run.max_usd) if run and run.max_usd is not None else None,
        run.rate if run else None,
        format_time(run.started_at) if run else None,
        format_time(progress.updated_at) if planned.progress else None,
        run.by if run else "",
        run.why if run else "",
        progress.said,
    )
