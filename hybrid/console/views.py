"""Pages from templates: every value is escaped, and what a page lacks is an error, not a blank."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agents.clock import Clock
from hybrid.console.access import ROLE, SESSION, Role
from hybrid.console.assets import asset
from hybrid.text import visible
from schemas.base import format_time
from streams.stories.words import duration, money

__all__ = ["PAGES", "UNKNOWN", "Views", "link"]

UNKNOWN = "–"
#: Path, name and key of each page of the menu; the key follows `g`.
PAGES = (
    ("/", "Now", "n"), ("/letters", "Dead letters", "d"), ("/plans", "Replays", "r"),
    ("/work", "Work", "w"), ("/intents", "Intent", "i"), ("/costs", "Costs", "c"),
    ("/latency", "Latency", "t"), ("/providers", "Providers", "p"), ("/tail", "Live tail", "l"),
    ("/alerts", "Alerts", "a"), ("/audit", "Audit", "u"), ("/settings", "Settings", "s"),
    ("/doctor", "Doctor", "o"),
)  # fmt: skip
FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class _Reader:
    """Who reads a page: nobody, where it is a part of one that all get."""

    is_operator: bool = False
    may_see: bool = False
    has_session: bool = False
    who: str = ""
    form_token: str = ""


class Views:
    """The templates."""

    def __init__(self, *, name: str, clock: Clock) -> None:
        """Load them when they are asked for; `name` is the environment's."""
        self._name = name
        self._clock = clock
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            auto_reload=False,  # an upgrade of the files is of the next process
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_printable,
        )
        self._templates.filters |= {
            "usd": usd, "count": count, "when": self.when, "long": duration, "link": link,
            "lines": lines,
        }  # fmt: skip
        self._templates.globals["asset"] = asset

    def page(
        self,
        request: web.Request,
        template: str,
        *,
        title: str,
        status: int = 200,
        command: str = "",
        again_s: int = 0,
        heading: str = "",
        **values: Any,  # noqa: ANN401 - what a template shows
    ) -> web.Response:
        """Render a page for who asks.

        `heading` stands on the page where it is not the title. `command` is what shows the same
        in a terminal; with `again_s` the page is loaded again after so many seconds.
        """
        reader = self.reader(request)
        text = self.part(
            template,
            title=title,
            command=command,
            again_s=again_s,
            heading=heading,
            path=request.path,
            reader=reader,
            **values,
        )
        return web.Response(text=text, status=status, content_type="text/html")

    def part(self, template: str, **values: Any) -> str:  # noqa: ANN401 - the same
        """Render a template."""
        common = {"environment": self._name, "pages": PAGES, "unknown": UNKNOWN}
        now = self._clock.now()
        return self._templates.get_template(template).render(common | {"now": now} | values)

    def reader(self, request: web.Request) -> _Reader:
        """Give who reads, as templates have it."""
        session, role = request.get(SESSION), request.get(ROLE, Role.NOBODY)
        return _Reader(
            is_operator=role >= Role.OPERATOR,
            may_see=role >= Role.VIEWER,
            has_session=session is not None,
            who=session.who if session else "",
            form_token=session.form_token if session else "",
        )

    def when(self, moment: datetime | None) -> Markup:
        """Say how long ago, with the time itself to point at."""
        if moment is None:
            return Markup("–")
        away = self._clock.now() - moment
        said = f"in {duration(-away)}" if away.total_seconds() < 0 else f"{duration(away)} ago"
        stamp = format_time(moment)
        # What is put into it is escaped by it.
        return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(stamp, said)


def usd(amount: Decimal | str | float | None) -> str:
    """Say dollars, with two digits that count; what is not known is a dash."""
    if amount is None or amount == "":
        return UNKNOWN
    try:
        return money(Decimal(str(amount)))
    except InvalidOperation:
        return UNKNOWN


def count(number: int | None) -> str:
    """Say a number; what is not known is a dash."""
    return UNKNOWN if number is None else f"{number:,}"


def lines(text: str) -> Markup:
    """Show a text of several lines as such; within a line all is shown as everywhere."""
    return Markup("\n").join(visible(one) for one in text.split("\n"))


def link(path: str, values: Mapping[str, str] | None = None, /, **more: str | None) -> str:
    """Give the address of a page; a value that is None or empty is left out."""
    chosen = {**(values or {}), **more}
    query = urlencode({name: one for name, one in chosen.items() if one})
    return f"{path}?{query}" if query else path


def _printable(value: object) -> object:
    """Show signs that turn a text around, or act, as what they are."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value
