"""docs/cli.md: every command as its own help describes it."""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer
from prose import wrapped

from hybrid.cli import app
from hybrid.errors import HybridError, UsageError
from streams.membership.lease import LEASE_LOST_STATUS
from streams.worker.stall_watch import STALLED_STATUS

__all__ = ["commands"]

HEAD = """
Each command says the same with `--help`. Settings are environment variables, or lines of
`hybrid.toml` ([configuration.md](configuration.md)); without any of them a command talks to the
local stack that `hybrid up` keeps running. Which commands ask what of Kafka and ClickHouse:
[security.md](security.md#kafka-rights). Words such as *lane* and *ledger* are in the
[glossary](glossary.md).
"""
OUTPUT = """
What is asked for goes to standard output, everything else to standard error: progress bars, what is
wrong. `--format json` is for programs: an array of objects with the table's columns, or one object
where the screen is no table (`status`, `trace`); money is a string. Tables fit the terminal, and
say which columns they left out; in a pipe they are never cut.
"""
COMPLETION = """
`hybrid --install-completion` installs it for the shell that runs it, `hybrid --show-completion
bash` prints it, to be put where you want it; bash, zsh, fish and PowerShell have one. Names of
commands and options are completed, and the words that an option may be.
"""
#: A default that is longer is said by its text.
LONG = 60
#: Of the words that stand in place of values.
KINDS = {str: "TEXT", int: "NUMBER", float: "NUMBER"}


def commands() -> str:
    """Give the page: what holds for all commands, then each of them."""
    lines = ["# Commands", "", *wrapped(" ".join(HEAD.split())), "", "## Exit status", ""]
    lines += _statuses()
    for title, text in (("Output", OUTPUT), ("Completion in the shell", COMPLETION)):
        lines += ["", f"## {title}", "", *wrapped(" ".join(text.split()))]
    lines += ["", "## hybrid", "", "Of the command itself:", ""]
    root = typer.main.get_command(app)
    lines += [line for one in root.params for line in _parameter(one)]
    for path, command in _all(root, "hybrid"):
        lines += ["", f"## {path}", "", *_described(path, command)]
    return "\n".join(lines) + "\n"


def _statuses() -> list[str]:
    meanings = {
        0: "done",
        HybridError.exit_status: "the work failed, or a part of it: one sentence says what",
        UsageError.exit_status: "wrong usage or configuration, or something is missing, such as a "
        "broker or a right: one sentence says what to do; nothing was done",
        LEASE_LOST_STATUS: "`hybrid worker`: it was stopped for longer than half a session, so it "
        "has given itself up; start it again",
        STALLED_STATUS: "`hybrid worker`: work waited and nothing moved; start it again",
        130: "Ctrl-C",
    }
    return [
        line
        for status, text in meanings.items()
        for line in wrapped(f"`{status}`: {text}", first="- ", rest="  ")
    ]


def _all(group: Any, path: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - as typer has it
    """Give the commands that are shown, each behind its group where that does something itself."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        inner = getattr(command, "commands", None)
        if inner is None or command.params:
            yield f"{path} {name}", command
        if inner is not None:
            yield from _all(command, f"{path} {name}")


def _described(path: str, command: Any) -> list[str]:  # noqa: ANN401
    sentence, *more = (command.help or "").split("\n\n")
    arguments = [_word(one) for one in command.params if one.param_type_name == "argument"]
    options = " [OPTIONS]" if len(arguments) < len(command.params) else ""
    lines = [*wrapped(" ".join(sentence.split())), ""]
    lines += [f"    {' '.join([path, *arguments])}{options}"]
    for text in more:
        lines += ["", *wrapped(re.sub(r"\s+", " ", text))]
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    parameters = [line for one in shown for line in _parameter(one)]
    return [*lines, "", *parameters] if parameters else lines


def _word(argument: Any) -> str:  # noqa: ANN401
    word = argument.metavar or argument.name.upper()
    return word if argument.required else f"[{word}]"


def _parameter(one: Any) -> list[str]:  # noqa: ANN401
    """Give an argument or option as an item of a list: how it is written, its default, its use."""
    if one.param_type_name == "argument":
        shown, default = _word(one), one.default
        shown = shown.strip("[]")
    else:
        shown, default = ", ".join(one.opts), one.default
        kind = one.type_descriptor.annotation
        choices = [member.value for member in kind] if _is_choice(kind) else []
        if one.metavar:
            shown += f" {one.metavar}"
        elif choices:
            shown += f" {'|'.join(choices)}"
        elif not one.is_flag:
            shown += f" {KINDS.get(kind, 'PATH')}"
    if isinstance(default, Enum):
        default = default.value
    is_told = default is not None and default is not False and len(str(default)) < LONG
    told = f" (`{default}`)" if is_told else ""
    several = "; may be given several times" if one.multiple and "repeated" not in one.help else ""
    text = re.sub(r"\s+", " ", one.help or "").rstrip(".")
    return wrapped(f"`{shown}`{told}: {text}{_bounds(one)}{several}", first="- ", rest="  ")


def _is_choice(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _bounds(one: Any) -> str:  # noqa: ANN401
    low, high = getattr(one, "min", None), getattr(one, "max", None)
    if low is None:
        return ""
    return f"; {low} or more" if high is None else f"; {low} to {high}"
