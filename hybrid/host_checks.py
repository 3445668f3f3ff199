"""What the doctor finds out of this host: prices, secrets, the port of the metrics."""

import asyncio
import json
import urllib.error
import urllib.request
from datetime import date, datetime

from pydantic import SecretStr

from agents.clock import SystemClock
from agents.pricing.book import age_of, book_of
from agents.pricing.prices import PriceBook
from agents.pricing.rates import Prompt
from hybrid.checking import Check
from hybrid.config import can_be_called
from schemas.providers import ProviderSpec
from schemas.settings import Settings
from streams.kafka.content_keys import open_to_others, read_ring
from streams.messages.key_ring import KeyFileError

__all__ = ["check_content", "check_port", "check_prices", "check_secrets"]

#: A list of prices whose newest price is older than this misses models, and price changes.
MOST_AGE_DAYS = 120
#: A secret that is shorter is found in any text.
SHORTEST_SECRET = 8
PORT_LIMIT_S = 2.0


async def check_prices(settings: Settings) -> Check:
    """Name the models that would be called and have no price; say how old the prices are."""
    try:
        book, now = book_of(settings), SystemClock().now()
    except ValueError as error:
        advice = "correct the list, or leave HYBRID_PRICES unset for the one that is built in"
        return Check("prices", "broken", str(error), advice)
    models = [
        (spec.name, model)
        for spec in settings.provider_specs
        if can_be_called(settings, spec)
        for model in settings.models_at(spec)
        if not _is_priced(book, spec, model, now)
    ]
    named = ", ".join(f"{model} at {provider}" for provider, model in sorted(models))
    if named:
        detail = f"no price is known for {named}: its calls cost NULL; add it to [[prices]]"
        advice = "add each to [[prices]] of hybrid.toml, then run `hybrid costs reprice`"
        return Check("prices", "warning", detail, advice)
    age = _age_days(book.listed.newest(), now)
    detail = f"every configured model has one; {age_of(book.listed)}"
    if age is not None and age > MOST_AGE_DAYS:
        return Check("prices", "warning", detail, "take a newer list: `hybrid costs prices update`")
    return Check("prices", "ok", detail)


def _age_days(newest: date | None, now: datetime) -> int | None:
    return None if newest is None else (now.date() - newest).days


def _is_priced(book: PriceBook, spec: ProviderSpec, model: str, at: datetime) -> bool:
    who = (spec.name, spec.kind)
    return book.worst(who, book.seller(who).names(model), Prompt(), at=at) is not None


async def check_secrets(settings: Settings) -> Check:
    """See whether a secret's value stands in a setting that is shown: in logs, and by commands."""
    secrets: dict[str, str] = {}
    shown: dict[str, str] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            secrets[name.upper()] = value.get_secret_value()
        elif name not in {"provider_keys", "secret_files"}:
            shown[name.upper()] = json.dumps(value, default=str, ensure_ascii=False)
    for label, key in settings.provider_keys.items():
        secrets[label] = key.get_secret_value()
    found = sorted(
        {
            (label, where)
            for label, secret in secrets.items()
            if len(secret) >= SHORTEST_SECRET
            for where, text in shown.items()
            if secret in text
        }
    )
    if not found:
        return Check("secrets", "ok", "no secret's value stands in a setting that is shown")
    label, where = found[0]
    detail = f"the value of {label} stands in {where} too, which logs and commands show"
    return Check("secrets", "broken", detail, f"take it out of {where}, and renew {label}")


async def check_content(settings: Settings) -> Check:
    """See whether the key files can be read, and by their owner alone."""
    try:
        ring = read_ring(settings)
        if ring is None:
            return Check("content", "ok", "content at rest is not encrypted (HYBRID_CONTENT_KEYS)")
        seen = open_to_others(settings)
    except (KeyFileError, OSError) as error:
        advice = "put a file `default` there, with lines `KEYID base64-of-32-bytes`"
        return Check("content", "broken", str(error), advice)
    files = f"{len(ring.writing)} key files with {len(ring.keys)} keys"
    if seen:
        detail = f"{files}; others than their owner may read {', '.join(seen)}"
        return Check("content", "warning", detail, "run chmod 600 on them")
    return Check("content", "ok", f"{files}: content at rest is encrypted")


async def check_port(settings: Settings) -> Check:
    """See whether the metrics' port is free, or a process of ours has it."""
    port = settings.hybrid_metrics_port
    if port == 0:
        return Check("port", "ok", "no metrics are served (HYBRID_METRICS_PORT = 0)")
    state = await asyncio.to_thread(_who_has, port)
    match state:
        case "free":
            return Check("port", "ok", f"port {port} is free for the metrics")
        case "ours":
            return Check("port", "ok", f"a process of ours serves its metrics on port {port}")
        case _:
            detail = f"somebody else has port {port}, on which metrics are to be served"
            advice = "set HYBRID_METRICS_PORT to another port, or 0 for none"
            return Check("port", "warning", detail, advice)


def _who_has(port: int) -> str:
    try:
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=PORT_LIMIT_S) as answer:
            return "ours" if b"hybrid_" in answer.read(1_000_000) else "another's"
    except urllib.error.HTTPError:
        return "another's"
    except urllib.error.URLError as error:
        return "free" if isinstance(error.reason, ConnectionRefusedError) else "another's"
    except (OSError, ValueError):
        return "another's"
