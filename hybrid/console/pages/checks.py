"""The doctor, and the configuration that is in force."""

from typing import Any

from aiohttp import web
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from hybrid.config import FOUND, sources_of
from hybrid.console.ground import GROUND
from hybrid.doctor import score_of
from hybrid.text import shown_address
from schemas.settings import Settings

__all__ = ["doctor", "settings", "shown_setting"]

#: The first look asks every server and provider.
WAIT_S = 20.0
#: Settings that hold an address in which people write passwords.
ADDRESSES = ("openai_base_url", "azure_openai_endpoint", "hybrid_simulator")


async def doctor(request: web.Request) -> web.Response:
    """Show what `hybrid doctor` finds, of the last 15 seconds at the most."""
    ground = request.app[GROUND]
    seen = await ground.sources.checks.get(wait_s=WAIT_S)
    found = seen.value or []
    order = {"broken": 0, "unknown": 1, "warning": 2, "ok": 3}
    return ground.views.page(
        request,
        "doctor.html",
        title="Doctor",
        command="hybrid doctor",
        again_s=3 if seen.value is None else 0,
        seen=seen,
        checks=sorted(found, key=lambda one: order[one.state]),
        score=score_of(found),
        bad=sum(one.state == "broken" for one in found),
    )


async def settings(request: web.Request) -> web.Response:
    """Show each setting: its value, where it is from, and its default."""
    ground = request.app[GROUND]
    names = [name for name in Settings.model_fields if name not in FOUND]
    sources = sources_of(names)
    rows = [_row(ground.settings, name, sources[name]) for name in names]
    changed = request.query.get("only") == "changed"
    return ground.views.page(
        request,
        "settings.html",
        title="Settings",
        rows=[one for one in rows if one["source"] != "default" or not changed],
        changed=changed,
        count=sum(one["source"] != "default" for one in rows),
    )


def _row(chosen: Settings, name: str, source: str) -> dict[str, Any]:
    field = Settings.model_fields[name]
    value, default = getattr(chosen, name), field.get_default(call_default_factory=True)
    return {
        "name": name.upper(),
        "value": shown_setting(name, value),
        "source": source if value != default else "default",
        "default": "" if default is PydanticUndefined else shown_setting(name, default),
    }


def shown_setting(name: str, value: object) -> str:
    """Write a value; of a secret only that it is set, of an address not who logs in."""
    if isinstance(value, SecretStr) or (value and name.endswith("_command")):
        return "set"  # a command may have a password in its words
    if value is None or value in ("", (), {}):
        return "not set"
    if name in ADDRESSES:
        return shown_address(str(value))
    if isinstance(value, tuple) and all(isinstance(one, str | int | float) for one in value):
        return ",".join(map(str, value))
    if isinstance(value, str | int | float | bool):
        return str(value)
    size = len(value) if isinstance(value, tuple | dict) else 0
    return f"a table of {size}, in hybrid.toml" if size else "a table"
