"""What all pages stand on, and the answers that they share."""

import secrets
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

from agents.clock import Clock
from agents.log import Log
from hybrid.console.access import SESSION, Access
from hybrid.console.runs import Runs
from hybrid.console.sources import Sources
from hybrid.console.tail import Tail
from hybrid.console.views import Views
from schemas.settings import Settings
from schemas.vocabulary import LogEvent

__all__ = ["GROUND", "Action", "Ground", "Said", "acted", "who_asks"]


class Action(StrEnum):
    """What an operator does here; a word of the log."""

    SIGNED_IN = "signed_in"
    SIGNED_OUT = "signed_out"
    PLANNED = "planned"
    RUN = "run"
    PAUSED = "paused"
    RESUMED = "resumed"
    STOPPED = "stopped"
    DISMISSED = "dismissed"
    REOPENED = "reopened"
    HELD = "held"
    LET_GO = "let_go"
    CANCELLED = "cancelled"
    REVEALED = "revealed"
    ALERT_TESTED = "alert_tested"


#: So many sentences are kept.
MOST_SAID = 200


class Said:
    """What came of an action, for the page that follows it; the oldest are forgotten."""

    def __init__(self) -> None:
        """Begin without any."""
        self._sentences: dict[str, str] = {}

    def keep(self, sentence: str) -> str:
        """Keep a sentence; gives the word by which it is found."""
        while len(self._sentences) >= MOST_SAID:
            del self._sentences[next(iter(self._sentences))]
        word = secrets.token_urlsafe(12)
        self._sentences[word] = sentence
        return word

    def get(self, word: str) -> str:
        """Give a sentence; empty = there is none."""
        return self._sentences.get(word, "")


@dataclass(frozen=True, slots=True)
class Ground:
    """What a page is given."""

    settings: Settings
    clock: Clock
    log: Log
    access: Access
    sources: Sources
    runs: Runs
    tail: Tail
    views: Views
    said: Said
    #: Name of the cookie, and whether it is for TLS only.
    cookie: str
    is_tls: bool
    #: What the Host header may be: `host` or `host:port`, in lower case.
    hosts: frozenset[str]


GROUND = web.AppKey("ground", Ground)


def who_asks(request: web.Request) -> str:
    """Name who asks, as it is kept with what is done."""
    session = request.get(SESSION)
    return session.who if session else "a viewer"


def acted(request: web.Request, action: Action, what: str = "") -> None:
    """Write who did what; the topics have it too."""
    request.app[GROUND].log(
        LogEvent.OPERATOR_ACTED,
        action=action.value,
        what=what,
        by=who_asks(request),
        address=request.remote or "",
    )
