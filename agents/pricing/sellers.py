"""Who sells a call, as prices are looked up: by the configuration, and by the address."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agents.pricing.public import PriceList
from schemas.provider_settings import ProviderSettings
from schemas.providers import ProviderSpec

__all__ = ["Seller", "seller_of", "sellers_of"]


@dataclass(frozen=True, slots=True)
class Seller:
    """A provider as one that charges."""

    name: str
    kind: str
    #: Whose public prices hold for it, by the name in genai-prices; None = nobody's.
    vendor: str | None = None
    #: Model (deployment) as it is called → what it really is, where that is said.
    bases: Mapping[str, str] = field(default_factory=dict)
    #: Whether its calls cost nothing.
    free: bool = False
    #: Output tokens of one answer at most, where its owner says so.
    max_output_tokens: int | None = None

    def names(self, requested: str, served: str = "") -> tuple[str, ...]:
        """Give the names of the model that a call was made to, best first.

        What served it is what is charged; the name of a deployment is anybody's choice.
        """
        base = self.bases.get(requested, "")
        if requested and not base and served in {"", requested}:
            return (requested,)
        return tuple(dict.fromkeys(filter(None, (served, base, requested))))


def seller_of(name: str, kind: str) -> Seller:
    """Give a provider that is configured no more: what its kind says."""
    return Seller(name, kind, vendor=None if kind == "openai-compatible" else kind)


def sellers_of(settings: ProviderSettings, listed: PriceList) -> dict[str, Seller]:
    """Give who charges for the calls of each provider.

    A vendor is known by its address, whatever the kind. Of kind `openai` an address that nobody
    knows is a way to OpenAI (a gateway, a simulator); of kind `openai-compatible` it is somebody's
    own server, and no public price holds for what runs there.
    """
    return {
        spec.name: _seller(spec, listed, settings.bases_at(spec))
        for spec in settings.provider_specs
    }


def _seller(spec: ProviderSpec, listed: PriceList, bases: Mapping[str, str]) -> Seller:
    vendor = listed.vendor_at(spec.base_url) if spec.base_url else None
    if spec.kind in {"azure", "openai"} and vendor is None:
        vendor = spec.kind
    return Seller(
        spec.name,
        spec.kind,
        vendor=vendor,
        bases=bases,
        free=spec.free,
        max_output_tokens=spec.max_output_tokens,
    )
