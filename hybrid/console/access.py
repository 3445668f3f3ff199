"""Who may do what: roles, sessions, the operator's link that works once, the token."""

import hmac
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import TYPE_CHECKING

from aiohttp import web

from agents.clock import Clock

if TYPE_CHECKING:
    from hybrid.console.proxied import Proxied

__all__ = ["MOST_NAME", "ROLE", "SESSION", "Access", "Role", "Session"]

#: A session ends after this long; then one signs in again.
SESSION_S = 12 * 3600.0
#: So many sessions at once; the oldest goes.
MOST_SESSIONS = 200
#: So many wrong tokens and links within so many seconds; then none is looked at for a while.
MOST_WRONG, WRONG_WITHIN_S = 10, 60.0
#: As much of a name as is kept with what its owner does.
MOST_NAME = 60


class Role(IntEnum):
    """What somebody may do; each may what the ones before it may."""

    NOBODY = 0  # sees the page on which one signs in
    VIEWER = 1  # sees
    OPERATOR = 2  # replays, dismisses, pauses


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who signed in."""

    role: Role
    who: str
    #: Stands in each form of theirs: another site cannot know it.
    form_token: str
    ends_at: float


#: Where a request keeps who asks; set before any page is asked.
ROLE: web.RequestKey[Role] = web.RequestKey("role", Role)
SESSION: web.RequestKey[Session] = web.RequestKey("session", Session)


class Access:
    """Sessions in memory: a console that is started again knows nobody."""

    def __init__(
        self,
        *,
        clock: Clock,
        token: str | None,
        is_local: bool,
        owner: str,
        on_link: Callable[[str], None] = lambda _code: None,
        proxied: "Proxied | None" = None,
    ) -> None:
        """Make the first link; `owner` is who follows it, `on_link` hears of each new one.

        `proxied` takes who signed in at a proxy; None = no header names anybody. Where it
        `is_local`, only this machine's programs reach it, and all of them may see.
        """
        self._clock = clock
        self._token = token
        self._owner = owner
        self.proxied = proxied
        self._on_link = on_link
        self._sessions: dict[str, Session] = {}
        self._wrong: deque[float] = deque(maxlen=MOST_WRONG)
        self.without_session = Role.VIEWER if is_local else Role.NOBODY
        self.takes_token = token is not None
        self._code = ""
        self._renew_link()

    def link_code(self) -> str:
        """Give the code of the link that works now."""
        return self._code

    def sign_in(self, token: str, name: str) -> str | None:
        """Take a token; gives the new session's cookie, or None for a wrong one."""
        if self._token is None or not self._is_right(token, self._token):
            return None
        who = " ".join(name.split())[:MOST_NAME] or "an operator"
        return self._open(f"{who} (console)")

    def follow_link(self, code: str) -> str | None:
        """Take a link's code, once; gives the new session's cookie, or None for a wrong one."""
        if not self._is_right(code, self._code):
            return None
        self._renew_link()
        return self._open(f"{self._owner} (console)")

    def session(self, cookie: str | None) -> Session | None:
        """Give whose cookie it is."""
        found = self._sessions.get(_hash(cookie)) if cookie else None
        return found if found and found.ends_at > self._clock.monotonic() else None

    def sign_out(self, cookie: str | None) -> None:
        """End a session."""
        if cookie:
            self._sessions.pop(_hash(cookie), None)

    @property
    def is_locked(self) -> bool:
        """Whether too many wrong ones came: none is looked at for a while."""
        now = self._clock.monotonic()
        return len(self._wrong) == MOST_WRONG and now - self._wrong[0] < WRONG_WITHIN_S

    def _is_right(self, given: str, wanted: str) -> bool:
        if self.is_locked:
            return False
        right = hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
        if not right:
            self._wrong.append(self._clock.monotonic())
        return right

    def _open(self, who: str) -> str:
        cookie, now = secrets.token_urlsafe(32), self._clock.monotonic()
        self._sessions = {key: one for key, one in self._sessions.items() if one.ends_at > now}
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = Session(Role.OPERATOR, who, secrets.token_urlsafe(24), now + SESSION_S)
        self._sessions[_hash(cookie)] = session
        return cookie

    def _renew_link(self) -> None:
        self._code = secrets.token_urlsafe(24)
        self._on_link(self._code)


def _hash(cookie: str) -> str:
    """Keep no cookie as it is: memory that is read gives nobody a session."""
    return sha256(cookie.encode("utf-8", "replace")).hexdigest()
