"""Groups of commands that load a command's module when it is run, not to list their names."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import click
import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["Later", "group_of"]

#: Adds the commands of a module to an app.
Register = Callable[[typer.Typer], None]


class Later:
    """Commands of one module: the sentence that `--help` says of each, and how they are loaded."""

    def __init__(self, load: Callable[[], Register], sentences: Mapping[str, str | None]) -> None:
        """Keep names with their sentences; None = hidden from `--help`."""
        self._load = load
        self.sentences = dict(sentences)
        self._commands: Mapping[str, Any] | None = None

    def command(self, name: str) -> Any:  # noqa: ANN401 - typer's copy of click has no public types
        """Load the module, once, and give a command of it."""
        if self._commands is None:
            app = typer.Typer(rich_markup_mode="markdown")
            self._load()(app)
            self._commands = typer.main.get_group(app).commands
        return self._commands[name]


class _Commands(MutableMapping[str, Any]):
    """Commands by name; one that is asked for is loaded."""

    def __init__(self, parts: tuple[Later, ...]) -> None:
        self._parts = {name: part for part in parts for name in part.sentences}
        self._more: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        return self._more[name] if name in self._more else self._parts[name].command(name)

    def __setitem__(self, name: str, command: Any) -> None:  # noqa: ANN401
        self._more[name] = command

    def __delitem__(self, name: str) -> None:
        del self._more[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts or name in self._more

    def __iter__(self) -> Iterator[str]:
        return iter({**self._more, **self._parts})

    def __len__(self) -> int:
        return len({**self._parts, **self._more})

    def named(self, name: str) -> Any:  # noqa: ANN401
        """Give a command that only has its name and its sentence, where it is to be loaded."""
        if name in self._more:
            return self._more[name]
        sentence = self._parts[name].sentences[name]
        return TyperCommand(name, help=sentence, hidden=sentence is None)


def group_of(*parts: Later) -> type[TyperGroup]:
    """Give the class of a group that has the commands of all parts, in their order."""

    class Group(TyperGroup):
        def __init__(self, **options: Any) -> None:  # noqa: ANN401
            super().__init__(**options)
            self._later = _Commands(parts)
            self._later.update(self.commands)
            self.commands = self._later
            self._listing = False

        def list_commands(self, ctx: click.Context) -> list[str]:  # type: ignore[override] # noqa: ARG002
            return list(self._later)

        def get_command(self, ctx: click.Context, cmd_name: str) -> Any:  # type: ignore[override] # noqa: ANN401, ARG002
            if cmd_name not in self._later:
                return None
            return self._later.named(cmd_name) if self._listing else self._later[cmd_name]

        def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
            with self._only_listing():
                super().format_help(ctx, formatter)

        def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:  # noqa: ANN401
            with self._only_listing():
                return super().shell_complete(ctx, incomplete)

        @contextmanager
        def _only_listing(self) -> Iterator[None]:
            self._listing = True
            try:
                yield
            finally:
                self._listing = False

    return Group
