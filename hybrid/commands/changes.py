"""What is changed in intents before their replay: `--set`, `--to-provider`, `--edit`."""

import difflib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click
import typer

from hybrid.errors import HybridError, UsageError
from hybrid.text import visible
from schemas.operations import Change
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.vocabulary import LetterState
from streams.publishing.dead_letters import Selection
from streams.publishing.originals import original_value
from streams.triage.book import read_book
from streams.triage.stands import standing_letters

__all__ = ["Edit", "SetOption", "ToProvider", "changes_of", "edited", "letter_to_edit"]

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="in each intent, as data.tone=friendly; repeatable"
    ),
]
ToProvider = Annotated[
    str | None,
    typer.Option(help="replay at this one (`--provider` chooses by who was asked before)"),
]
Edit = Annotated[bool, typer.Option("--edit", help="open the intent of one letter in $EDITOR")]


def changes_of(
    settings: Settings, given: Sequence[str] | None, to_provider: str | None
) -> list[Change]:
    """Read what is to be changed in each intent; raises UsageError."""
    from streams.triage.changing import ChangeError, read_change  # noqa: PLC0415 - loads prices

    found = []
    for text in given or ():
        try:
            found.append(read_change(text))
        except ChangeError as error:
            message = f"--set {visible(text)}: {error}"
            raise UsageError(message) from None
    if to_provider is not None:
        known = [one.name for one in settings.provider_specs]
        if to_provider not in known:
            message = (
                f"--to-provider {visible(to_provider)}: no such provider; there are "
                f"{', '.join(known)}"
            )
            raise UsageError(message)
        found.append(Change(path=["force_provider"], value=to_provider))
    return found


async def letter_to_edit(settings: Settings, selection: Selection) -> DeadLetter:
    """Give the one letter that is chosen, with its content; raises UsageError for none or several.

    Of an intent that came back the newest letter is meant, of which the older ones are not open.
    """
    if settings.hybrid_content_keys is not None:
        message = (
            "--edit: content is encrypted here, and a plan is not: write the letter into a file "
            "with `hybrid dlq export --intents`, edit that, and publish it with `hybrid dlq import`"
        )
        raise UsageError(message)
    book = await read_book(settings)
    open_ones = {LetterState.OPEN, LetterState.REPLAYED, LetterState.WAITING}
    every = standing_letters(settings, selection, book, sources=True)
    found = [one async for _, one, state in every if state in open_ones]
    if len(found) == 1 and not found[0].is_without_content:
        return found[0]
    message = f"--edit is for one dead letter, and {len(found)} match: give its --id"
    if found and found[0].is_without_content:
        message = f"--edit: its content cannot be read: {found[0].suggested_action}"
    raise UsageError(message)


def edited(settings: Settings, letter: DeadLetter, changes: Sequence[Change]) -> list[Change]:
    """Let somebody edit a letter's intent, as the changes leave it; gives what then is changed.

    What cannot be an intent is edited again, or kept in a file. Raises UsageError, HybridError.
    """
    from streams.triage.changing import changed, differences  # noqa: PLC0415 - loads prices
    from streams.triage.pricing import Refusal  # noqa: PLC0415

    begin = changed(letter, changes)
    if isinstance(begin, Refusal):
        raise UsageError(begin.message)
    before, text = _document(letter), _pretty(begin)
    with tempfile.NamedTemporaryFile("w+", suffix=".json", delete=False) as file:
        path = Path(file.name)
        file.write(text)
    while True:
        _open_editor(path)
        problem, found = _problem(settings, letter, path)
        if problem is None and found is not None:
            break
        typer.echo(f"it is no intent for this dead letter: {visible(problem or '')}", err=True)
        if sys.stdin is None or not sys.stdin.isatty() or not typer.confirm("Edit it again?"):
            message = f"nothing was planned; what you wrote is in {path}"
            raise HybridError(message)
    after = json.loads(path.read_text())
    path.unlink()
    lines = difflib.unified_diff(
        _pretty(letter).splitlines(), _lines(after), "as it was", "as it is replayed", lineterm=""
    )
    for line in lines:
        typer.echo(visible(line), err=True)
    return differences(before, after)


def _problem(
    settings: Settings, letter: DeadLetter, path: Path
) -> tuple[str | None, DeadLetter | None]:
    """Say why what somebody wrote cannot be replayed; None and the letter where it can."""
    from streams.publishing.intents import routes  # noqa: PLC0415 - loads the providers
    from streams.triage.changing import changed_value  # noqa: PLC0415 - loads prices
    from streams.triage.pricing import Refusal, readable  # noqa: PLC0415

    try:
        after = json.loads(path.read_text())
    except (ValueError, RecursionError, OSError) as error:
        return f"it is no JSON ({error})", None
    if not isinstance(after, dict):
        return "it is JSON, but no object", None
    found = changed_value(letter, after)
    if isinstance(found, Refusal):
        return found.message, None
    refused = readable(settings, routes(settings), found)
    return (refused.message, None) if isinstance(refused, Refusal) else (None, found)


def _open_editor(path: Path) -> None:
    try:
        click.edit(filename=str(path))
    except click.ClickException as error:
        message = f"{error.message}; nothing was planned, what you wrote is in {path}"
        raise HybridError(message) from None


def _document(letter: DeadLetter) -> object:
    try:
        return json.loads(original_value(letter) or b"")
    except (ValueError, RecursionError):
        return None


def _pretty(letter: DeadLetter) -> str:
    document = _document(letter)
    if document is None:
        return (original_value(letter) or b"").decode("utf-8", "replace")
    return "\n".join(_lines(document)) + "\n"


def _lines(document: object) -> list[str]:
    return json.dumps(document, ensure_ascii=False, indent=2).splitlines()
