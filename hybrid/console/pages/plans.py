"""Plans of replays and their runs: made, looked at, run, paused, resumed, stopped."""

from urllib.parse import quote

from aiohttp import web

from agents.clock import SystemDice
from hybrid.console.filters import Filters
from hybrid.console.ground import GROUND, Action, Ground, acted, who_asks
from hybrid.console.pages.asking import form_of, limited
from hybrid.errors import UsageError
from hybrid.moneys import usd_of
from hybrid.plan_text import lines_of
from schemas.operations import ControlRecord
from schemas.vocabulary import LetterState, RunState
from streams.triage.beginning import Options, begun, progress_of, usable
from streams.triage.book import OVER, Planned, read_book
from streams.triage.journal import write_operations
from streams.triage.planning import make_plan

__all__ = ["control", "make", "plan", "plans", "run"]

#: So many of the newest are listed.
MOST = 200
WAIT_S = 8.0


async def make(request: web.Request) -> web.Response:
    """Freeze what matches, and show what its replay comes to; `hybrid dlq plan` does the same."""
    ground, form = request.app[GROUND], await form_of(request)
    filters = Filters.read(form, now=ground.clock.now())
    if filters.selection.state not in {None, LetterState.OPEN}:
        message = "only dead letters that are open are replayed"
        raise UsageError(message)
    made = await limited(
        make_plan(
            ground.settings,
            filters.selection,
            clock=ground.clock,
            dice=SystemDice(),
            by=who_asks(request),
            force=form.get("force") == "yes",
        )
    )
    ground.sources.book.forget()
    if made.count:
        acted(request, Action.PLANNED, made.plan_id)
        raise _to(made.plan_id)
    return ground.views.page(
        request,
        "nothing.html",
        title="Nothing to replay",
        command=f"hybrid dlq plan{filters.arguments(state=False)}",
        lines=list(lines_of(made)),
    )


async def plans(request: web.Request) -> web.Response:
    """List the plans and their runs, the newest first: who ran what, and why."""
    ground = request.app[GROUND]
    seen = await ground.sources.book.get(wait_s=WAIT_S)
    found = list(seen.value.plans.values()) if seen.value else []
    found.sort(key=lambda one: one.plan.made_at, reverse=True)
    return ground.views.page(
        request,
        "plans.html",
        title="Replays",
        command="hybrid dlq runs",
        again_s=3 if seen.value is None else 0,
        seen=seen,
        plans=[_document(ground, one) for one in found[:MOST]],
        more=max(0, len(found) - MOST),
    )


async def plan(request: web.Request) -> web.Response:
    """Show a plan: what it comes to, and how far its run is."""
    ground, plan_id = request.app[GROUND], request.match_info["plan"]
    # While it runs the page asks every 2 s: all who look share one reading.
    seen = await ground.sources.book.get(wait_s=WAIT_S)
    planned = seen.value.plans.get(plan_id) if seen.value else None
    if planned is None:  # made a moment ago, or by another process
        planned = (await limited(read_book(ground.settings))).plans.get(plan_id)
    if planned is None:
        raise web.HTTPNotFound(
            text=f"there is no plan {plan_id}: it is kept for 32 days, one without letters not\n"
        )
    shown = _document(ground, planned)
    moves = shown["is_here"] or shown["state"] == RunState.RUNNING.value
    return ground.views.page(
        request,
        "plan.html",
        title=f"Replay {plan_id}",
        command=f"hybrid dlq {'resume' if planned.run else 'replay'} {plan_id}",
        again_s=2 if moves else 0,
        lines=list(lines_of(planned.plan)),
        planned=planned,
        shown=shown,
        seen=seen,
    )


def _document(ground: Ground, planned: Planned) -> dict[str, object]:
    """Give a plan and its run as the pages show them."""
    progress = progress_of(planned, ground.clock)
    passed = sum(progress.skipped.values())
    plan_id = planned.plan.plan_id
    is_here = ground.runs.is_here(plan_id)
    is_valid = ground.clock.now() <= planned.plan.expires_at
    return {
        "plan": planned.plan,
        "run": planned.run,
        "state": planned.state.value if planned.state else "",
        "is_over": planned.state in OVER,
        "is_here": is_here,
        "problem": ground.runs.problems.get(plan_id, ""),
        "sent": progress.sent,
        "passed": passed,
        "left": planned.plan.count - progress.sent - passed,
        "said": progress.said,
        "moved_at": planned.progress.updated_at if planned.progress else None,
        "can_begin": planned.run is None and not is_here and is_valid,
    }


async def run(request: web.Request) -> web.Response:
    """Begin the run of a plan, or go on with one; raises PlanError."""
    ground, plan_id = request.app[GROUND], request.match_info["plan"]
    form = await form_of(request)
    options = Options(
        _rate(form.get("rate", "")),
        usd_of(form.get("max_usd", "").strip() or None, option="max_usd"),
        form.get("why", "").strip(),
        who_asks(request),
        form.get("canary") == "yes",
    )
    book = await limited(read_book(ground.settings))
    resumes = request.path.endswith("/resume")
    (begun if resumes else usable)(book, plan_id, ground.clock)
    ground.runs.start(plan_id, options, anew=resumes)
    acted(request, Action.RESUMED if resumes else Action.RUN, plan_id)
    raise _to(plan_id)


async def control(request: web.Request) -> web.Response:
    """Pause or stop a run, wherever it is carried on; raises PlanError."""
    ground, plan_id = request.app[GROUND], request.match_info["plan"]
    stops = request.path.endswith("/stop")
    wanted = RunState.STOPPED if stops else RunState.PAUSED
    begun(await limited(read_book(ground.settings)), plan_id, ground.clock)
    record = ControlRecord(
        plan_id=plan_id, wanted=wanted, by=who_asks(request), at=ground.clock.now()
    )
    await write_operations(ground.settings, [record])
    ground.sources.changed()
    acted(request, Action.STOPPED if stops else Action.PAUSED, plan_id)
    raise _to(plan_id)


def _to(plan_id: str) -> web.HTTPSeeOther:
    """Lead to a plan that there is."""
    return web.HTTPSeeOther(f"/plans/{quote(plan_id, safe='')}")


def _rate(text: str) -> float | None:
    """Read how many records a second; raises UsageError."""
    if not text.strip():
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.01 <= rate < float("inf"):  # noqa: PLR2004 - as `--rate` has it
        message = "rate: write records a second, such as 5, or nothing"
        raise UsageError(message)
    return rate
