"""What `hybrid doctor` finds out of each provider: whether key, model and clock are well.

It asks by calls that cost nothing, with the key and on the way that a worker would use.
"""

import asyncio
from collections.abc import Sequence
from datetime import date, datetime
from email.utils import parsedate_to_datetime

from agents.clock import SystemClock
from agents.credentials.sources import SecretError
from agents.providers.inquiry import Finding, Knowledge
from hybrid.checking import Check
from hybrid.config import address_of, can_be_called
from hybrid.errors import HybridError
from hybrid.providing import build_providers
from hybrid.text import shown_address
from schemas.providers import ProviderSpec
from schemas.settings import Settings

__all__ = ["Check", "examine_provider"]

MAX_SKEW_S = 5
#: For all questions to one provider.
LIMIT_S = 8.0
#: A model's end is a warning when it is nearer than this; one farther away is said.
NOTICE_DAYS = 90
#: Where the name of a model is set, by the provider's name, where no table does.
VARIABLES = {"openai": "HYBRID_OPENAI_MODEL", "azure": "HYBRID_AZURE_DEPLOYMENT"}


async def examine_provider(settings: Settings, spec: ProviderSpec) -> Check:
    """Ask a provider for the models that are configured at it."""
    if not can_be_called(settings, spec):
        return Check(spec.name, "ok", "not configured")
    clock = SystemClock()
    bases = settings.bases_at(spec)
    models = {model: bases.get(model, "") for model in settings.models_at(spec)}
    only = settings.model_copy(update={"providers": (spec,)})
    try:
        provider = build_providers(only, clock)[spec.name]
    except (HybridError, ValueError, OSError) as error:
        return Check(spec.name, "broken", str(error))
    numbers = range(len(provider.keys))
    asked = (provider.inquire(models, within_s=LIMIT_S, key=number) for number in numbers)
    try:
        found = await asyncio.gather(*asked)
    except SecretError as error:
        return Check(spec.name, "broken", str(error))
    finally:
        await provider.close()
    url = settings.hybrid_simulator or address_of(spec)
    host = shown_address(url).partition("://")[2].partition("/")[0] or "its address"
    refused = [
        key
        for key, findings in zip(provider.keys, found, strict=True)
        if findings[0].knowledge is Knowledge.KEY_REFUSED
    ]
    # What a key that is taken finds is what counts.
    best = min(found, key=lambda one: one[0].knowledge is Knowledge.KEY_REFUSED)
    said = _of_keys(len(found), refused)
    return _judge(settings, spec, best, host=host, now=clock.now(), said=said)


def _of_keys(count: int, refused: Sequence[str]) -> list[tuple[str, str]]:
    """Say how many of several keys are usable, with their state; nothing of a single one."""
    if count == 1:
        return []
    usable = f"{count - len(refused)} of {count} keys are usable"
    return [("warning", f"{usable}: see {', '.join(refused)}") if refused else ("ok", usable)]


def _shown(settings: Settings, spec: ProviderSpec) -> str:
    """Name where what was shown to a provider comes from; empty where nothing was."""
    if spec.auth != "key":
        return {"entra": "its role in Entra ID", "command": "token_command"}[spec.auth]
    return " or ".join(place.label for place in settings.key_places(spec))


def _judge(
    settings: Settings,
    spec: ProviderSpec,
    findings: Sequence[Finding],
    *,
    host: str,
    now: datetime,
    said: Sequence[tuple[str, str]],
) -> Check:
    """Put what was found of all models, and `said`, into one line; the worst is its state."""
    first = findings[0]
    if first.knowledge is Knowledge.UNREACHED:
        return Check(spec.name, "broken", f"{host} does not answer ({first.cause})")
    if first.knowledge is Knowledge.KEY_REFUSED:
        shown = _shown(settings, spec)
        detail = f"{host} refuses the key ({first.status}): see {shown}"
        if not shown:
            detail = f"{host} wants a key ({first.status}); none is configured: see key_variable"
        return Check(spec.name, "broken", detail)
    said = [*(_of_model(settings, spec, one, now.date()) for one in findings), *said]
    skew = _skew_s(first.at, now)
    if skew is not None and skew > MAX_SKEW_S:
        said.append(("warning", f"the clocks differ by {skew:.0f} s"))
    states = [state for state, _ in said]
    worst = next(one for one in ("broken", "warning", "ok") if one in states)
    return Check(spec.name, worst, f"{host} answers; {'; '.join(text for _, text in said)}")


def _of_model(
    settings: Settings, spec: ProviderSpec, found: Finding, today: date
) -> tuple[str, str]:
    """Give state and words for one model."""
    model = found.model
    match found.knowledge:
        case Knowledge.THERE:
            return _end(found, today, f"{model} is there")
        case Knowledge.UNTOLD:
            told = f"the key is taken, no free call says whether deployment {model} is there"
            return _end(found, today, told)
        case Knowledge.LISTLESS:
            return "ok", f"it has no list of models to see {model} in"
        case Knowledge.ABSENT if spec.kind == "azure":
            return "broken", "it has no list of models: is that the address of an Azure resource?"
        case Knowledge.ABSENT:
            return "broken", f"model {model} is not there: {_what_to_do(settings, spec, model)}"
        case Knowledge.UNREACHED:
            return "warning", f"of {model} it does not say anything ({found.cause})"
        case _:
            return "warning", f"whether {model} is there it does not say ({found.status})"


def _what_to_do(settings: Settings, spec: ProviderSpec, model: str) -> str:
    if model == spec.embedding_model:
        return "name another for embeddings, or have the key's project allowed to use it"
    if model != spec.own_model:
        return "name another in [[models]], or have the key's project allowed to use it"
    where = f"model of [[providers]] {spec.name}" if settings.providers else VARIABLES[spec.name]
    return f"name another in {where}, or have the key's project allowed to use it"


def _end(found: Finding, today: date, said: str) -> tuple[str, str]:
    """Add what the provider says of the model's end, and only that."""
    state = "warning" if found.state else "ok"
    if found.state:
        said += f" ({found.state})"
    if found.ends is None:
        return state, said
    if (found.ends - today).days < NOTICE_DAYS:
        state = "warning"
    verb = "ends" if found.ends >= today else "was to end"
    return state, f"{said}, and {verb} on {found.ends.isoformat()}"


def _skew_s(at: str | None, now: datetime) -> float | None:
    """Give the seconds between the provider's clock and ours; None where it does not say."""
    try:
        return abs((parsedate_to_datetime(at) - now).total_seconds()) if at else None
    except (ValueError, TypeError):
        return None
