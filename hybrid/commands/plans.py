"""Replaying dead letters: `hybrid dlq plan|replay`."""

import asyncio
from typing import Annotated

import typer
from aiokafka.errors import ProducerFenced

from agents.clock import SystemClock, SystemDice
from hybrid.commands.changes import (
    Edit,
    SetOption,
    ToProvider,
    changes_of,
    edited,
    letter_to_edit,
)
from hybrid.commands.common import (
    FormatOption,
    confirm,
    progress_on_stderr,
)
from hybrid.commands.selecting import selecting
from hybrid.config import load_settings, need_kafka
from hybrid.errors import HybridError, UsageError
from hybrid.moneys import usd_of
from hybrid.plan_text import lines_of
from hybrid.printing import Format
from hybrid.text import json_text, visible
from hybrid.whoami import who_am_i
from schemas.operations import Change, PlanRecord, ProgressRecord
from schemas.settings import Settings
from schemas.vocabulary import RunState
from streams.publishing.dead_letters import Selection
from streams.triage.beginning import Options, PlanError, progress_of, usable
from streams.triage.book import OVER, Planned, read_book

__all__ = ["MaxUsd", "Rate", "carry_out", "planned_of", "register"]

Again = Annotated[
    bool, typer.Option("--again", help="also those that were replayed and have no outcome")
]
Force = Annotated[bool, typer.Option("--force", help="also those that came back 3 times or more")]
Rate = Annotated[float | None, typer.Option(min=0.01, help="records a second")]
MaxUsd = Annotated[
    str | None, typer.Option(help="what the replays may cost together; then the run pauses")
]
Why = Annotated[str, typer.Option(help="what it is done for; kept with the run")]
Canary = Annotated[
    bool, typer.Option("--canary", help="5 first; goes on by itself if 4 end well within 2 min")
]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]


def register(dlq: typer.Typer) -> None:
    """Add the commands."""
    dlq.command("plan")(dlq_plan)
    dlq.command("replay")(dlq_replay)


@selecting
def dlq_plan(
    selection: Selection,
    again: Again = False,
    force: Force = False,
    set_: SetOption = None,
    to_provider: ToProvider = None,
    edit: Edit = False,
    rate: Rate = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Freeze a list of dead letters to be replayed, and say what that comes to.

    Example: `hybrid dlq plan --reason exhausted --since 2h`
    """
    settings = need_kafka(load_settings())
    changes = _changes(settings, selection, set_, to_provider, edit=edit)
    plan = _made(settings, selection, changes, again=again, force=force)
    _show(plan, form, rate)
    if plan.count and form is Format.TABLE:
        typer.echo(f"run it: hybrid dlq replay {plan.plan_id}")


@selecting
def dlq_replay(
    selection: Selection,
    plan: Annotated[
        str | None,
        typer.Argument(metavar="[PLAN]", help="as `hybrid dlq plan` names it; none: it is made"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="plan only")] = False,
    again: Again = False,
    force: Force = False,
    set_: SetOption = None,
    to_provider: ToProvider = None,
    edit: Edit = False,
    rate: Rate = None,
    max_usd: MaxUsd = None,
    why: Why = "",
    canary: Canary = False,
    yes: Yes = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Publish dead letters again as the intents they were: a plan, or what matches now.

    Each is replayed once. A run that was interrupted goes on when it is called again.

    Example: `hybrid dlq replay p-3f0c2a91d7be --rate 5 --max-usd 20 --canary`
    """
    settings = need_kafka(load_settings())
    options = Options(rate, usd_of(max_usd), why, who_am_i(), canary)
    if plan is not None:
        if selection != Selection() or again or force or set_ or to_provider or edit:
            message = "a plan's list is frozen: give PLAN, or filters and changes, not both"
            raise UsageError(message)
        planned = planned_of(settings, plan)
        made = planned.plan
        if planned.state in OVER:
            _say_end(progress_of(planned, SystemClock()), form)
            return
    else:
        changes = _changes(settings, selection, set_, to_provider, edit=edit)
        made = _made(settings, selection, changes, again=again, force=force)
    if form is Format.TABLE or dry_run:
        _show(made, form, rate)
    if dry_run or not made.count:
        return
    confirm("Replay them?", yes=yes, otherwise="nothing was replayed")
    carry_out(settings, made, options, form)


def _changes(
    settings: Settings,
    selection: Selection,
    given: list[str] | None,
    to_provider: str | None,
    *,
    edit: bool,
) -> list[Change]:
    """Read what is changed in the intents, or have it edited; raises UsageError, HybridError."""
    changes = changes_of(settings, given, to_provider)
    if not edit:
        return changes
    return edited(settings, asyncio.run(letter_to_edit(settings, selection)), changes)


def _made(
    settings: Settings, selection: Selection, changes: list[Change], *, again: bool, force: bool
) -> PlanRecord:
    from streams.triage.planning import make_plan  # noqa: PLC0415 - loads the prices

    try:
        return asyncio.run(
            make_plan(
                settings,
                selection,
                clock=SystemClock(),
                dice=SystemDice(),
                by=who_am_i(),
                again=again,
                force=force,
                changes=changes,
            )
        )
    except (ValueError, OSError) as error:  # a list of prices, or prompts, that cannot be read
        raise UsageError(str(error)) from None


def planned_of(settings: Settings, plan: str) -> Planned:
    """Give a plan that may be run, or whose run is over; raises HybridError."""
    book = asyncio.run(read_book(settings))
    try:
        return usable(book, plan, SystemClock())
    except PlanError as error:
        raise HybridError(str(error)) from None


def _show(plan: PlanRecord, form: Format, rate: float | None) -> None:
    if form is Format.TABLE:
        for line in lines_of(plan, rate=rate):
            typer.echo(visible(line))
        return
    typer.echo(json_text(plan.to_dict(), indent=2))


def carry_out(settings: Settings, plan: PlanRecord, options: Options, form: Format) -> None:
    """Run a plan, or go on with its run, and say how it ended; raises HybridError."""
    from streams.triage.running import run_plan  # noqa: PLC0415 - loads the prices

    with progress_on_stderr() as bar:
        task = bar.add_task("replaying", total=plan.count)
        try:
            progress = asyncio.run(
                run_plan(
                    settings,
                    plan.plan_id,
                    options,
                    clock=SystemClock(),
                    on_progress=lambda one: bar.update(task, completed=one.sent),
                )
            )
        except PlanError as error:
            raise HybridError(str(error)) from None
        except ProducerFenced:
            message = f"another process has taken the run of {plan.plan_id} over"
            raise HybridError(message) from None
    _say_end(progress, form)


def _say_end(progress: ProgressRecord, form: Format) -> None:
    """Say what a run has done; raises HybridError where it waits for somebody."""
    if form is Format.JSON:
        typer.echo(json_text(progress.to_dict(), indent=2))
    else:
        passed = sum(progress.skipped.values())
        more = "" if not passed else f", passed over {passed} that were dealt with meanwhile"
        typer.echo(
            f"replayed {progress.sent}{more}; run {progress.plan_id} is {progress.state.value}"
        )
    if progress.state is RunState.PAUSED:
        message = f"{progress.said}; hybrid dlq resume {progress.plan_id}, or stop it"
        raise HybridError(message)
