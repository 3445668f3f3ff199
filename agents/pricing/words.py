"""Where a price comes from, in words; pure."""

import re

__all__ = ["explained"]

OWN = re.compile(
    r"own:(?P<provider>[^:]+):(?P<model>.+?):(?P<tier>\w+):(?P<day>\d{4}-\d\d-\d\d)(?::(?P<more>.+))?"
)
SHARE = re.compile(r"(?P<of>.*)\*(?P<share>[\d.]+)(?::(?P<tier>\w+))?")
LISTED = re.compile(
    r"genai-prices@(?P<list>[^:]+):(?P<vendor>[^:]+):(?P<model>[^#]+)(?:#(?P<tier>\w+))?"
)
DISCOUNT = re.compile(r"-(?P<off>[\d.]+):(?P<of>.+)")
NOT_KNOWN = "not known: its calls cost NULL, not 0"


def explained(price_id: str) -> str:
    """Say in a sentence which price an id names."""
    if found := OWN.fullmatch(price_id):
        return _own(found)
    if found := SHARE.fullmatch(price_id):
        return f"{found['share']} of it, for tier {found['tier']}: {explained(found['of'])}"
    if found := LISTED.fullmatch(price_id):
        tier = f", its price for tier {found['tier']}" if found["tier"] else ""
        return (
            f"public list genai-prices {found['list']}: {found['model']} of {found['vendor']}{tier}"
        )
    if price_id.startswith("contract:"):
        return "flat price of the original, input and output alike (HYBRID_PRICES)"
    if price_id.startswith("free:"):
        return "your own server, which costs nothing (free)"
    return NOT_KNOWN


def _own(found: re.Match[str]) -> str:
    where = "any provider" if found["provider"] == "*" else found["provider"]
    said = f"your [[prices]] since {found['day']} for {found['model']} at {where}"
    if found["tier"] != "standard":
        said += f", tier {found['tier']}"
    more = found["more"] or ""
    if discount := DISCOUNT.fullmatch(more):
        return f"{said}: {discount['off']} off {explained(discount['of'])}"
    return f"{said}, for prompts above {more.removeprefix('above-')} tokens" if more else said
