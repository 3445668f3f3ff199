"""Whether settings that are right each by itself also fit each other."""

import ssl
from pathlib import Path

from agents.deciding.overrides import overrides_of
from hybrid.errors import UsageError
from schemas.settings import Settings
from streams.kafka.security import SecurityError, check_security

__all__ = ["check_together"]


def _check_providers(settings: Settings) -> None:
    """Refuse providers and routes that do not fit each other."""
    names = [spec.name for spec in settings.providers]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        message = f"[[providers]]: the name {doubled[0]} is used twice"
        raise UsageError(message)
    known = {spec.name for spec in settings.provider_specs}
    for route in settings.routes:
        unknown = sorted(set(route.providers) - known)
        if unknown:
            message = (
                f"[[routes]]: {unknown[0]} is not a provider; there are: {', '.join(sorted(known))}"
            )
            raise UsageError(message)


def _check_models(settings: Settings) -> None:
    """Refuse groups of models that name no provider, or one model in two ways."""
    known = {spec.name: spec for spec in settings.provider_specs}
    bases = {name: settings.bases_at(spec) for name, spec in known.items()}
    seen = set[str]()
    for group in settings.models:
        if group.name in seen:
            message = f"[[models]]: the name {group.name} is used twice"
            raise UsageError(message)
        seen.add(group.name)
        for provider, place in group.at.items():
            if provider not in known:
                message = (
                    f"[[models]]: {group.name} is at {provider}, which is not a provider; there "
                    f"are: {', '.join(sorted(known))}"
                )
                raise UsageError(message)
            base, spec = group.base_at(provider), known[provider]
            own = spec.base_model if place.model == spec.own_model else ""
            said = {bases[provider].get(place.model, ""), base, own} - {""}
            if len(said) > 1:
                message = (
                    f"[[models]]: {place.model} at {provider} has two base models, "
                    f"{' and '.join(sorted(said))}: it can be one only"
                )
                raise UsageError(message)


def _check_policy(settings: Settings) -> None:
    """Refuse lines of the policy that name no provider or no failure."""
    try:
        overrides_of(settings)
    except ValueError as error:
        message = f"[policy]: {error}"
        raise UsageError(message) from None


def _check_authorities(settings: Settings) -> None:
    """Refuse a CLICKHOUSE_CA_FILE that nothing reads, or that holds no certificates."""
    file, url = settings.clickhouse_ca_file, settings.clickhouse_url
    if not file:
        return
    if url is not None and not url.get_secret_value().startswith("https:"):
        message = "CLICKHOUSE_CA_FILE is set: CLICKHOUSE_URL must begin with https://"
        raise UsageError(message)
    try:
        ssl.create_default_context(cafile=file)
    except (ssl.SSLError, OSError):
        message = f"CLICKHOUSE_CA_FILE = {file}: must hold PEM certificates"
        raise UsageError(message) from None


def check_together(settings: Settings) -> None:
    """Refuse settings that do not fit each other; raises UsageError."""
    _check_providers(settings)
    _check_models(settings)
    _check_policy(settings)
    if settings.hybrid_alert_secret and not settings.hybrid_alert_webhook:
        message = "HYBRID_ALERT_SECRET is set: HYBRID_ALERT_WEBHOOK is needed too"
        raise UsageError(message)
    for name in (
        "kafka_ssl_cafile",
        "kafka_ssl_certfile",
        "kafka_ssl_keyfile",
        "clickhouse_ca_file",
    ):
        path = getattr(settings, name)
        if path and not Path(path).is_file():
            message = f"{name.upper()} = {path}: there is no such file"
            raise UsageError(message)
    _check_authorities(settings)
    try:
        check_security(settings)
    except SecurityError as error:
        raise UsageError(str(error)) from None
    if settings.hybrid_prompts_dir and not Path(settings.hybrid_prompts_dir).is_dir():
        message = f"HYBRID_PROMPTS_DIR = {settings.hybrid_prompts_dir}: there is no such folder"
        raise UsageError(message)
