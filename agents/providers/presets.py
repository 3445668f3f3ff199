"""How the commonest vendors want their requests, by the host of their address; pure.

From their documentation and public reports. What a line does not say is as OpenAI has it; what a
`[[providers]]` table says wins.
"""

from typing import Any
from urllib.parse import urlsplit

from agents.providers.arguments import Dialect
from schemas.providers import ProviderSpec

__all__ = ["PRESETS", "dialect_of"]

#: End of the host → how requests are sent there.
PRESETS: dict[str, Dialect] = {
    "api.mistral.ai": Dialect(max_tokens_field="max_tokens"),
    "api.deepseek.com": Dialect(max_tokens_field="max_tokens", structured="object"),
    "api.anthropic.com": Dialect(structured="none"),  # response_format is ignored there
    "openrouter.ai": Dialect(max_tokens_field="max_tokens"),
    "api.together.xyz": Dialect(max_tokens_field="max_tokens"),
    "api.together.ai": Dialect(max_tokens_field="max_tokens"),
    "api.fireworks.ai": Dialect(max_tokens_field="max_tokens"),
    "api.perplexity.ai": Dialect(max_tokens_field="max_tokens"),
    "generativelanguage.googleapis.com": Dialect(max_tokens_field="max_tokens"),
    "aliyuncs.com": Dialect(max_tokens_field="max_tokens", structured="object"),
    "api.moonshot.ai": Dialect(max_tokens_field="max_tokens", structured="object"),
    "api.z.ai": Dialect(max_tokens_field="max_tokens", structured="object"),
    "open.bigmodel.cn": Dialect(max_tokens_field="max_tokens", structured="object"),
    "api.cohere.ai": Dialect(max_tokens_field="max_tokens"),
}


def dialect_of(spec: ProviderSpec) -> Dialect:
    """Give how a provider wants its requests: its own words over those of its address."""
    host = urlsplit(spec.endpoint or spec.base_url or "").hostname or ""
    known = next(
        (one for end, one in PRESETS.items() if host == end or host.endswith(f".{end}")), Dialect()
    )
    structured: Any = spec.structured or known.structured
    return Dialect(
        max_tokens_field=spec.max_tokens_field or known.max_tokens_field,
        drop=frozenset(spec.drop) | known.drop,
        structured=structured,
        extra_body={**known.extra_body, **spec.extra_body},
    )
