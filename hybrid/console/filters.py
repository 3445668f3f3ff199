"""Which dead letters a page is about: read from its address, written into links and commands."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hybrid.errors import UsageError
from hybrid.moments import moment_of
from hybrid.text import visible
from schemas.vocabulary import DeadLetterReason, ErrorClass, LetterState
from streams.publishing.dead_letters import Selection

__all__ = ["WORDS", "Filters"]

#: The words, as the commands have them; in an address `-` is `_`.
WORDS = (
    "reason", "error_class", "type", "tenant", "provider", "intent_id", "id", "cause", "since",
    "until", "state",
)  # fmt: skip
CLOSED: dict[str, type[StrEnum]] = {
    "reason": DeadLetterReason, "error_class": ErrorClass, "state": LetterState,
}  # fmt: skip
#: Longer than anything that has a name here.
MOST_SIGNS = 300


@dataclass(frozen=True, slots=True)
class Filters:
    """What was asked for, and what that selects."""

    words: dict[str, str]
    selection: Selection

    @classmethod
    def read(
        cls, given: Mapping[str, object], *, now: datetime, state: LetterState | None = None
    ) -> "Filters":
        """Read an address or a form; `state` where it says none. Raises UsageError."""
        words = {
            name: str(given[name]).strip()[:MOST_SIGNS]
            for name in WORDS
            if isinstance(given.get(name), str) and str(given[name]).strip()
        }
        for name, allowed in CLOSED.items():
            if name in words and words[name] not in {*allowed, "all"}:
                message = f"{name} = {visible(words[name])}: choose any of {', '.join(allowed)}"
                raise UsageError(message)
        chosen = words.get("state", state.value if state else "all")
        return cls(
            words,
            Selection(
                reason=words.get("reason"),
                error_class=words.get("error_class"),
                type=words.get("type"),
                tenant=words.get("tenant"),
                provider=words.get("provider"),
                intent_id=words.get("intent_id"),
                id=words.get("id"),
                cause=words.get("cause"),
                since=moment_of(words.get("since"), now=now, option="since"),
                until=moment_of(words.get("until"), now=now, option="until"),
                state=None if chosen == "all" else LetterState(chosen),
            ),
        )

    def arguments(self, *, state: bool = True) -> str:
        """Give them as a command of `hybrid dlq` takes them."""
        found = dict(self.words)
        if state and self.selection.state is not None:
            found["state"] = self.selection.state.value
        elif not state or found.get("state") == "all":
            found.pop("state", None)
        return "".join(
            f" --{name.replace('_', '-')} {shlex.quote(value)}" for name, value in found.items()
        )

    def without_state(self) -> dict[str, str]:
        """Give the words but the one that says where they stand."""
        return {name: value for name, value in self.words.items() if name != "state"}
