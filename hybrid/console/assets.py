"""The pages' own files: what changes them changes their address, so that browsers may keep them."""

from functools import cache
from hashlib import sha256
from pathlib import Path

from aiohttp import web

__all__ = ["LOCK", "STATIC", "asset", "static"]

STATIC = Path(__file__).parent / "static"
#: SHA-256 of what others wrote, by its name, with where it is from.
LOCK = STATIC / "static.lock"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
#: An address that names what the file holds is good for ever; another one is asked about anew.
KEPT, ASKED = "private, max-age=31536000, immutable", "no-cache"


def asset(name: str) -> str:
    """Give the address of a file, with what it holds in it; raises KeyError for none of ours."""
    return f"/static/{name}?v={_files()[name][2]}"


async def static(request: web.Request) -> web.Response:
    """Give a file of the pages' own."""
    name = request.match_info["name"]
    found = _files().get(name)
    if found is None:
        raise web.HTTPNotFound(text="there is no such file\n")
    body, kind, version = found
    kept = KEPT if request.query.get("v") == version else ASKED
    return web.Response(
        body=body, content_type=kind, charset="utf-8", headers={"Cache-Control": kept}
    )


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    found = {}
    for one in STATIC.iterdir():
        if one.suffix in TYPES:
            body = one.read_bytes()
            found[one.name] = (body, TYPES[one.suffix], sha256(body).hexdigest()[:12])
    return found
