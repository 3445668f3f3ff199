"""Tokens, prices, dollars; values computed by hand."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.pricing.limits import MOST_IMAGE, MOST_IMAGE_OF_MINI, most_output, prompt_of
from agents.pricing.prices import NO_TIER, Charge, Price, PriceBook, charge_of, recalled_charge
from agents.pricing.tokens import count_messages, counter_of
from agents.pricing.usage import Usage, estimated_usage, read_usage
from schemas.base import format_usd
from schemas.pricing import PriceSpec
from schemas.vocabulary import UsageSource
from tests.builders import NOW


def price_call(provider: str, models: tuple[str, ...], usage: Usage, **options: Any) -> Price:
    return PriceBook().price((provider, provider), models, usage, **options)


def test_1500_tokens_on_openai_cost_0_003_and_2000_on_azure_0_02() -> None:
    openai = price_call("openai", ("gpt-3.5-turbo",), Usage(1000, 0, 500), at=NOW)
    azure = price_call("azure", ("gpt-4-turbo",), Usage(1500, 0, 500), at=NOW)
    assert (openai.usd, format_usd(openai.usd or Decimal(9))) == (Decimal("0.003"), "0.003")
    assert (azure.usd, format_usd(azure.usd or Decimal(9))) == (Decimal("0.02"), "0.02")
    assert openai.price_id == "contract:openai:gpt-3.5-turbo"


def test_cached_tokens_are_not_counted_twice() -> None:
    """gpt-4o-mini: 900 × $0.15/M + 100 × $0.075/M + 50 × $0.60/M = $0.0001725."""
    usage = read_usage(
        {
            "prompt_tokens": 1000,
            "completion_tokens": 50,
            "total_tokens": 1050,
            "prompt_tokens_details": {"cached_tokens": 100},
            "completion_tokens_details": {"reasoning_tokens": 20},
        }
    )
    assert usage == Usage(900, 100, 30, 20, UsageSource.PROVIDER)
    assert price_call("openai", ("gpt-4o-mini",), usage, at=NOW).usd == Decimal("0.0001725")


def test_an_unknown_model_has_no_price_rather_than_zero() -> None:
    assert price_call("openai", ("no-such-model-x1",), Usage(1000), at=NOW).usd is None


def test_where_no_tokenizer_is_known_4000_characters_are_1000_tokens_marked_estimated() -> None:
    count = counter_of(("llama-3-70b", ""))
    usage = estimated_usage(
        prompt_tokens=count_messages(count, [{"role": "user", "content": "x" * 400}]),
        content_tokens=count("x" * 4000),
    )
    assert (usage.uncached_input, usage.visible_output) == (100, 1000)
    assert usage.source is UsageSource.ESTIMATED


#: Counts of OpenAI's tiktoken 0.14 (cl100k_base) and of quicktok 0.4 (o200k_base).
TEXTS = {
    "English": (
        (
            "The quick brown fox jumps over the lazy dog. Plan three posts for the autumn launch; "
            "keep each under 40 words."
        ),
        25,
        25,
    ),
    "French": (
        (
            "Préparez trois publications pour le lancement d'automne ; chacune doit compter moins de "
            "quarante mots, sans émojis."
        ),
        31,
        26,
    ),
    "code": (
        "def price(tokens: int, usd: Decimal) -> Decimal:\n    return tokens * usd / 1_000_000\n",
        28,
        26,
    ),
    "JSON": (
        (
            '{"intent_id": "order-4711", "tenant": "acme", "data": {"occasion": "birthday", '
            '"platforms": ["a", "b"]}}'
        ),
        37,
        37,
    ),
}


@pytest.mark.parametrize("language", TEXTS)
def test_tokens_are_counted_as_the_models_own_tokenizer_does(language: str) -> None:
    text, cl100k, o200k = TEXTS[language]
    assert counter_of(("gpt-3.5-turbo",))(text) == cl100k
    assert counter_of(("", "gpt-4-turbo-2024-04-09"))(text) == cl100k
    assert counter_of(("my-deployment", "gpt-4o-mini"))(text) == o200k


def test_a_chat_has_tokens_of_its_own_around_its_texts() -> None:
    """3 for each message and 3 before the answer, and one for each role (OpenAI's cookbook)."""
    messages = [{"role": "system", "content": "Hello"}, {"role": "user", "content": [{"a": 1}]}]
    count = counter_of(("gpt-4o",))
    assert count_messages(count, messages) == 3 + 2 * (3 + 1) + count("Hello") + count('[{"a": 1}]')
    assert count("half a pair: \ud800") == count("half a pair: ?")


@given(st.text(max_size=200))
def test_a_texts_bytes_bound_its_tokens(text: str) -> None:
    messages = [{"role": "user", "content": text}]
    for model in ("gpt-4o", "gpt-3.5-turbo"):
        most = prompt_of(messages, models=(model,)).tokens
        assert count_messages(counter_of((model,)), messages) <= most


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"prompt_tokens": 1},
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": "1", "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 0, "completion_tokens": 0},
    ],
)
def test_usage_that_makes_no_sense_is_no_usage(body: dict[str, object] | None) -> None:
    assert read_usage(body) is None


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**7), st.integers(0, 10**7))
def test_token_classes_are_disjoint_and_complete(
    prompt: int, completion: int, cached: int, reasoning: int
) -> None:
    usage = read_usage(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
    )
    if prompt + completion:
        assert usage is not None
        assert (usage.input, usage.output) == (prompt, completion)
        assert min(usage.uncached_input, usage.cached_input) >= 0


@pytest.mark.parametrize(
    ("model", "tokens", "known"),
    [
        ("gpt-5.4-mini", 128_000, True),
        ("gpt-5-chat-latest", 16_384, True),
        ("openai/gpt-4o", 16_384, True),
        ("ft:gpt-4o-mini-2024-07-18:acme::x", 16_384, True),
        ("gpt-4", 8_192, True),
        ("gpt-4-turbo", 4_096, True),
        ("gpt-35-turbo", 4_096, True),
        ("o3-mini", 100_000, True),
        ("claude-sonnet-4-5", 128_000, True),
        ("llama-3-70b", 131_072, False),
    ],
)
def test_a_model_writes_no_more_than_its_vendor_says(
    model: str, tokens: int, *, known: bool
) -> None:
    assert most_output(("", model)) == (tokens, known)
    assert most_output(("my-own",), window=8_000) == (8_000, False)


def test_parts_of_a_prompt_are_bounded_by_their_kind() -> None:
    def most(part: dict[str, Any], model: str = "gpt-4o") -> tuple[int, int]:
        prompt = prompt_of([{"role": "user", "content": [part]}], models=(model,), window=200_000)
        empty = prompt_of([{"role": "user", "content": []}], models=(model,)).tokens
        return prompt.tokens - empty, prompt.audio

    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}
    assert most(picture) == (MOST_IMAGE, 0)
    assert most(picture, "gpt-4o-mini") == (MOST_IMAGE_OF_MINI, 0)
    sound = {"type": "input_audio", "input_audio": {"data": "A" * 8_000, "format": "mp3"}}
    assert most(sound) == (1_001, 1_001)
    assert most({"type": "file", "file": {"file_id": "f-1"}}) == (200_000, 0), (
        "nobody knows how long"
    )
    assert most({"type": "text", "text": "hello"})[0] == len('{"type": "text", "text": "hello"}')


def test_a_bound_takes_the_dearest_class_that_tokens_may_turn_out_to_be() -> None:
    """Thought costs more than speech here, and a long prompt more than a short one."""

    def bound(*specs: PriceSpec, prompt: int = 1_000) -> Decimal | None:
        return PriceBook(specs).upper_bound(
            ("openai", "openai"), ("gpt-4o",), prompt_tokens=prompt, max_output_tokens=100, at=NOW
        )

    assert bound(a_price()) == Decimal("0.0028")
    assert bound(a_price(reasoning=20)) == Decimal("0.004")
    assert bound(a_price(cached_input=3)) == Decimal("0.0038")
    long = a_price(above_tokens=999, above_input=1, above_output=16)
    assert bound(long) == Decimal("0.0036"), (
        "it may be under the threshold, where a prompt costs more"
    )
    assert bound(long, prompt=999) == Decimal("0.002798")
    assert bound(a_price(), a_price(tier="priority", input=4, output=16)) == Decimal("0.0056")
    assert bound(a_price(), a_price(tier="flex", input=1, output=4)) == Decimal("0.0028")


def test_models_that_charge_more_for_long_prompts_are_bounded_by_what_they_charge_then() -> None:
    """gemini-2.5-pro: $1.25 and $10 per million up to 200,000 tokens, $2.50 and $15 above."""
    provider = ("google", "google")
    short, long = (Usage(uncached_input=n, visible_output=1_000) for n in (200_000, 200_001))
    book, models = PriceBook(), ("gemini-2.5-pro",)
    assert book.price(provider, models, short, at=NOW).usd == Decimal("0.26")
    assert book.price(provider, models, long, at=NOW).usd == Decimal("0.5150025")
    assert book.upper_bound(
        provider, models, prompt_tokens=200_001, max_output_tokens=1_000, at=NOW
    ) == Decimal("0.5150025")


def test_what_is_not_sold_by_the_token_has_no_price_rather_than_zero() -> None:
    assert price_call("openai", ("whisper-1",), Usage(1000), at=NOW).usd is None


def test_a_call_of_which_nothing_was_heard_has_an_upper_bound() -> None:
    bound = PriceBook().upper_bound(
        ("openai", "openai"), ("gpt-3.5-turbo",), prompt_tokens=500, max_output_tokens=1000, at=NOW
    )
    assert bound == Decimal("0.003")


@given(st.decimals(0, 1000, places=12))
def test_dollars_are_written_plainly(amount: Decimal) -> None:
    text = format_usd(amount)
    assert Decimal(text) == amount
    assert "e" not in text.lower()


# ── prices of one's own ─────────────────────────────────────────────────────────────────────


def a_price(**changes: Any) -> PriceSpec:
    return PriceSpec.model_validate({"model": "gpt-4o*", "input": 2, "output": 8, **changes})


USAGE = Usage(uncached_input=900, cached_input=100, visible_output=40, reasoning=10)


def own(
    *specs: PriceSpec, usage: Usage = USAGE, provider: str = "azure-eu", **options: Any
) -> Price:
    book = PriceBook(specs)
    return book.price((provider, "azure"), ("gpt-4o-mini",), usage, at=NOW, **options)


def test_a_price_of_ones_own_wins_and_every_class_of_tokens_has_its_own() -> None:
    """900 × $2/M + 100 × $0.5/M + 40 × $8/M + 10 × $20/M = $0.00237."""
    price = own(a_price(cached_input="0.5", reasoning=20))
    assert price.usd == Decimal("0.00237")
    assert price.price_id == "own:*:gpt-4o*:standard:1970-01-01"


def test_cached_and_reasoning_tokens_without_a_price_cost_what_their_kin_do() -> None:
    """1,000 × $2/M + 50 × $8/M = $0.0024."""
    assert own(a_price()).usd == Decimal("0.0024")


def test_the_newest_price_that_holds_counts() -> None:
    old, new = a_price(input=1), a_price(input=3, valid_from="2026-01-31")
    future = a_price(input=9, valid_from="2026-02-01")
    assert own(new, future, old).usd == Decimal("0.0034")
    assert own(old, future).usd == Decimal("0.0014")


def test_a_price_may_be_for_one_provider_or_for_a_kind() -> None:
    assert own(a_price(provider="azure-eu")).usd == own(a_price(provider="azure")).usd
    assert own(a_price(provider="azure-us")).price_id.startswith("genai-prices@")


def test_a_long_prompt_is_priced_whole_by_the_long_price() -> None:
    """1,000 prompt tokens are over 999: 900 × $4/M + 100 × $1/M + 50 × $16/M = $0.0045."""
    long = a_price(above_tokens=999, above_input=4, above_cached_input=1, above_output=16)
    assert own(long).usd == Decimal("0.0045")
    assert own(long).price_id.endswith(":above-999")
    assert own(long, usage=Usage(999)).usd == Decimal("0.001998")


def test_a_tier_has_its_own_price_or_a_share_of_the_standard_one() -> None:
    charge = Charge("flex", Decimal("0.5"))
    assert own(a_price(), charge=charge).usd == Decimal("0.0012")
    assert own(a_price(), a_price(tier="flex", input=1, output=1), charge=charge).usd == Decimal(
        "0.00105"
    )


def test_half_a_price_for_long_prompts_is_refused() -> None:
    with pytest.raises(ValidationError, match="go together"):
        a_price(above_tokens=1000)


@pytest.mark.parametrize(
    ("specs", "charge", "recalled"),
    [
        ([], NO_TIER, NO_TIER),
        ([{}], NO_TIER, NO_TIER),
        ([], Charge("flex", Decimal("0.5")), Charge("flex", Decimal("0.5"))),
        ([{"tier": "flex"}], Charge("flex", Decimal("0.5")), Charge("flex", None)),
        ([{"tier": "priority"}], Charge("priority", None), Charge("priority", None)),
        ([], Charge("priority", None), Charge("priority", None)),
    ],
    ids=["public", "own", "share", "own tier", "own tier, no share", "unknown"],
)
def test_the_id_of_a_price_says_how_its_call_was_charged(
    specs: list[dict[str, Any]], charge: Charge, recalled: Charge
) -> None:
    """So that pricing it anew does not take one tier's call for another's."""
    book = PriceBook([a_price(**spec) for spec in specs])
    price = book.price(
        ("openai", "openai"), ("gpt-4o",), Usage(uncached_input=1_000), at=NOW, charge=charge
    )
    assert recalled_charge(price.price_id) == recalled
    assert (price.usd is None) == (not specs and charge.share is None)


def test_a_share_of_an_older_id_is_recalled_without_its_tier() -> None:
    assert recalled_charge("contract:openai:gpt-3.5-turbo*0.5") == Charge("", Decimal("0.5"))


@pytest.mark.parametrize(
    ("served", "asked", "charge"),
    [
        ("", "", NO_TIER),
        ("default", "flex", NO_TIER),
        ("scale", "", NO_TIER),
        ("", "flex", Charge("flex", Decimal("0.5"))),
        ("flex", "flex", Charge("flex", Decimal("0.5"))),
        ("priority", "", Charge("priority", None)),
        ("priority", "flex", Charge("priority", None)),
    ],
)
def test_a_call_is_charged_by_what_served_it(served: str, asked: str, charge: Charge) -> None:
    assert charge_of(served=served, asked=asked, share=Decimal("0.5")) == charge
