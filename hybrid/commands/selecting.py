"""Choosing dead letters: the same words in every command that is about them."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from hybrid.commands.common import (
    ProviderOption,
    SinceOption,
    TenantOption,
    TypeOption,
    UntilOption,
    parse_moment,
)
from schemas.vocabulary import DeadLetterReason, ErrorClass, LetterState
from streams.publishing.dead_letters import Selection

__all__ = ["none_like", "selecting"]


def _words(
    reason: Annotated[DeadLetterReason | None, typer.Option(help="why they ended")] = None,
    error_class: Annotated[
        ErrorClass | None, typer.Option(help="what went wrong with the last call")
    ] = None,
    type_: TypeOption = None,
    tenant: TenantOption = None,
    provider: ProviderOption = None,
    intent_id: Annotated[str | None, typer.Option(help="of this intent only")] = None,
    id_: Annotated[str | None, typer.Option("--id", help="dead letter or intent")] = None,
    cause: Annotated[str | None, typer.Option(help="as `hybrid dlq causes` names it")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    state: Annotated[
        LetterState | None, typer.Option(help="where they stand; all, where it is not said")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many")] = None,
) -> Selection:
    """Read what was chosen on the command line."""
    return Selection(
        reason=reason.value if reason else None,
        error_class=error_class.value if error_class else None,
        type=type_,
        tenant=tenant,
        provider=provider,
        intent_id=intent_id,
        id=id_,
        cause=cause,
        since=parse_moment(since),
        until=parse_moment(until, option="--until"),
        state=state,
        limit=limit,
    )


_WORDS = inspect.signature(_words).parameters


def selecting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose first parameter is a selection, the options that make one."""

    def run(**given: Any) -> None:  # noqa: ANN401 - whatever the options hold
        chosen = _words(**{name: given.pop(name) for name in _WORDS})
        command(selection=chosen, **given)

    own = inspect.signature(command).parameters
    parameters = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in (*_WORDS.values(), *(own[name] for name in own if name != "selection"))
    ]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer asks for it
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def none_like(selection: Selection) -> str:
    """Say that there are none, and what to try."""
    if selection == Selection(limit=selection.limit):
        return "no dead letter: none of what Kafka still has ended without a result"
    return "no dead letter like that: leave out a filter, or look further back with --since"
