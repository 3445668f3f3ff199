"""A user's own lines of the policy table, from the `[policy]` table of hybrid.toml; pure."""

import re

from agents.deciding.policy import Override
from schemas.settings import Settings
from schemas.vocabulary import FailureKind

__all__ = ["overrides_of"]

#: Names of the original's matrix, and what they are called here.
ALIASES = {"rate_limited": "rate_limit"}
DEFERRAL = re.compile(r"defer (\d+(?:\.\d+)?)")


def overrides_of(settings: Settings) -> dict[tuple[str, FailureKind], Override]:
    """Read `<provider>_<failure> = "<provider>" | "defer <seconds>"`; raises ValueError."""
    names = [spec.name for spec in settings.provider_specs]
    found = {}
    for line, wanted in settings.policy.items():
        provider = next((name for name in names if line.startswith(f"{name}_")), None)
        failure = line.removeprefix(f"{provider}_")
        failure = ALIASES.get(failure, failure)
        if provider is None or failure not in {kind.value for kind in FailureKind}:
            message = (
                f"{line}: must be <provider>_<failure>, with a provider of {', '.join(names)} and "
                f"a failure of {', '.join(FailureKind)}"
            )
            raise ValueError(message)
        deferral = DEFERRAL.fullmatch(wanted)
        if deferral is None and wanted not in names:
            message = f"{line} = {wanted!r}: must be a provider, or `defer` and seconds"
            raise ValueError(message)
        found[provider, FailureKind(failure)] = (
            Override(defer_s=float(deferral[1])) if deferral else Override(provider=wanted)
        )
    return found
