"""Settings of the providers: keys, addresses, models, limits."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator

from schemas.credentials import KeyPlace
from schemas.models import ModelSpec
from schemas.money import MoneySettings
from schemas.providers import ProviderSpec, TimeLimitSpec

__all__ = ["DEFAULT_MODEL", "ProviderSettings", "numbers_in"]

#: Why this one: docs/configuration.md, "The default model".
DEFAULT_MODEL = "gpt-6-luna"
#: The cheapest of OpenAI's.
DEFAULT_EMBEDDING_MODEL = "text-embedding-3-small"
NUMBER = r"\d+(\.\d+)?"


def numbers_in(text: str, problem: str, *, further: str = "*") -> tuple[float, ...]:
    """Read numbers separated by commas; raises ValueError with the problem.

    `further` says how many follow the first, as a regular expression does.
    """
    if not re.fullmatch(rf"\s*{NUMBER}(\s*,\s*{NUMBER}){further}\s*", text):
        raise ValueError(problem)
    return tuple(float(part) for part in text.split(","))


class ProviderSettings(MoneySettings):
    """Who is called, with which key, and how much it takes."""

    openai_api_key: SecretStr | None = None
    """Key of provider `openai`; without it that provider is not configured."""
    openai_base_url: str | None = None
    """Base URL of provider `openai`; without it the SDK's own."""
    azure_openai_api_key: SecretStr | None = None
    """Key of provider `azure`; without it that provider is not configured."""
    azure_openai_endpoint: str | None = None
    """Endpoint of provider `azure`."""
    hybrid_azure_auth: Literal["key", "entra"] = "key"
    """How provider `azure` is told who we are: by its key, or by Microsoft Entra ID (extra
    `entra`)."""
    openai_api_version: str = ""
    """API version of provider `azure`, such as `2024-10-21`; without it, or with `v1`, Azure's v1
    API is asked, which has no versions."""
    hybrid_openai_limits: tuple[float, ...] = ()
    """Provider `openai`, over all workers: requests a minute, tokens a minute, calls in flight."""
    hybrid_azure_limits: tuple[float, ...] = ()
    """The same for provider `azure`, such as 60,90000,10; 0 = no limit."""
    hybrid_openai_model: str = DEFAULT_MODEL
    """Model of provider `openai` where the intent names none."""
    hybrid_azure_deployment: str = DEFAULT_MODEL
    """Deployment of provider `azure` where the intent names none."""
    hybrid_openai_embedding_model: str = DEFAULT_EMBEDDING_MODEL
    """Model of provider `openai` for intents with `task = "embedding"` that name none."""
    hybrid_azure_embedding_deployment: str = ""
    """Deployment of provider `azure` for them; without it they are not sent there."""
    hybrid_openai_timeout: float = Field(default=30.0, gt=0, le=3600)
    """Seconds for one attempt on provider `openai`."""
    hybrid_azure_timeout: float = Field(default=45.0, gt=0, le=3600)
    """Seconds for one attempt on provider `azure`."""
    hybrid_stream: bool = False
    """Whether `openai` and `azure` stream: a stuck call is seen after 10 s, or a pause of 5 s."""
    providers: tuple[ProviderSpec, ...] = ()
    """Who serves chat completions; without them `openai` and `azure` as set above."""
    models: tuple[ModelSpec, ...] = ()
    """What an intent's `model` is at each provider, where they do not call it the same."""
    time_limits: tuple[TimeLimitSpec, ...] = ()
    """How long a call may take, by model; the first line that fits."""
    provider_keys: dict[str, SecretStr] = Field(default_factory=dict)
    """The values of the key variables that `[[providers]]` name (from the environment only)."""
    secret_files: dict[str, str] = Field(default_factory=dict)
    """The files that hold a secret, by the variable that would hold it."""

    @field_validator("hybrid_openai_limits", "hybrid_azure_limits", mode="before")
    @classmethod
    def _limits(cls, value: object) -> object:
        if isinstance(value, str):
            problem = "must be three numbers: requests a minute, tokens a minute, in flight"
            return numbers_in(value, problem, further="{2}")
        return value

    @property
    def provider_specs(self) -> tuple[ProviderSpec, ...]:
        """The configured providers, or the two built-in ones, whether or not their keys are set."""
        if self.providers:
            return self.providers
        openai = ProviderSpec.model_construct(
            self._set_of("hybrid_openai_timeout", "hybrid_openai_embedding_model"),
            name="openai",
            kind="openai",
            key_variable="OPENAI_API_KEY",
            base_url=self.openai_base_url,
            model=self.hybrid_openai_model,
            embedding_model=self.hybrid_openai_embedding_model,
            timeout=self.hybrid_openai_timeout,
            stream=self.hybrid_stream,
            **_limit_fields(self.hybrid_openai_limits),
        )
        azure = ProviderSpec.model_construct(
            self._set_of("hybrid_azure_timeout", "hybrid_azure_embedding_deployment"),
            name="azure",
            kind="azure",
            key_variable="AZURE_OPENAI_API_KEY" if self.hybrid_azure_auth == "key" else "",
            auth=self.hybrid_azure_auth,
            endpoint=self.azure_openai_endpoint,
            api_version=self.openai_api_version,
            deployment=self.hybrid_azure_deployment,
            embedding_model=self.hybrid_azure_embedding_deployment,
            base_model=self.hybrid_azure_base_model or "",
            timeout=self.hybrid_azure_timeout,
            stream=self.hybrid_stream,
            **_limit_fields(self.hybrid_azure_limits),
        )
        return (openai, azure)

    def models_at(self, spec: ProviderSpec) -> tuple[str, ...]:
        """Name the models (deployments) that are configured at a provider, its own first."""
        grouped = [group.at[spec.name].model for group in self.models if spec.name in group.at]
        # The default that nobody named need not be there: who embeds nothing misses nothing.
        named = spec.embedding_model if "embedding_model" in spec.model_fields_set else ""
        return tuple(dict.fromkeys([spec.own_model, *filter(None, [named]), *grouped]))

    def bases_at(self, spec: ProviderSpec) -> dict[str, str]:
        """Give what the models at a provider really are, for those of which that is said."""
        found = {spec.own_model: spec.base_model}
        for group in self.models:
            if spec.name in group.at and group.base_at(spec.name):
                found[group.at[spec.name].model] = group.base_at(spec.name)
        return {model: base for model, base in found.items() if base}

    def embedders(self) -> dict[str, str]:
        """Give what the embedding model of each provider really is, of those that have one."""
        return {
            spec.name: self.bases_at(spec).get(spec.embedding_model, spec.embedding_model)
            for spec in self.provider_specs
            if spec.embedding_model
        }

    def _set_of(self, timeout: str, embedding_model: str) -> set[str]:
        """Name what was set of a provider, by the names of the settings that may have been."""
        names = {"timeout": timeout, "embedding_model": embedding_model}
        return {name for name, setting in names.items() if setting in self.model_fields_set}

    def key_places(self, spec: ProviderSpec) -> tuple[KeyPlace, ...]:
        """Say where each of a provider's keys is, and whether there is anything."""
        variables = (
            KeyPlace(name, self._value_of(name), self.secret_files.get(name, ""))
            for name in spec.variables
        )
        return (*variables, *(KeyPlace(file, file=file) for file in spec.files))

    def lacks_key(self, spec: ProviderSpec) -> str:
        """Give the first variable that should hold a key of a provider's and is not set; or ""."""
        return next((one.label for one in self.key_places(spec) if not one.is_set), "")

    def _value_of(self, variable: str) -> SecretStr | None:
        match variable:
            case "OPENAI_API_KEY":
                return self.openai_api_key
            case "AZURE_OPENAI_API_KEY":
                return self.azure_openai_api_key
            case name:
                return self.provider_keys.get(name)


def _limit_fields(limits: tuple[float, ...]) -> dict[str, Any]:
    """Spread `requests a minute, tokens a minute, in flight` over a provider's fields; 0 = none."""
    requests, tokens, in_flight = limits or (0, 0, 0)
    return {
        "requests_per_minute": requests or None,
        "tokens_per_minute": tokens or None,
        "in_flight": int(in_flight) or None,
    }
