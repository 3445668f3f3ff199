"""Whose price holds: by what served, by the address, by the tier; sums computed by hand."""

import asyncio
import json
import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agents.clock import ManualClock
from agents.pricing.book import age_of, book_of, stored_list
from agents.pricing.prices import Charge, PriceBook, charge_of, recalled_charge
from agents.pricing.public import read_list
from agents.pricing.tokens import encoding_of
from agents.pricing.usage import Usage, read_usage
from agents.pricing.words import explained
from schemas.pricing import PriceSpec
from schemas.settings import Settings
from schemas.vocabulary import LogEvent, UsageSource
from streams.worker.price_watch import PriceWatch
from tests.builders import NOW

LATER = datetime(2026, 11, 20, tzinfo=UTC)
USAGE = Usage(uncached_input=1_000, visible_output=1_000)
#: Somebody's deployment, named as another model than it serves.
AZURE = {"name": "azure", "kind": "azure", "endpoint": "https://eu.openai.azure.com", "deployment": "gpt-4",
         "key_variable": "K"}  # fmt: skip


def compatible(url: str, **changes: Any) -> dict[str, Any]:
    return {"name": "other", "kind": "openai-compatible", "base_url": url, "model": "m", **changes}


def a_book(*providers: dict[str, Any], **changes: Any) -> PriceBook:
    return book_of(Settings.model_validate({"providers": providers, **changes}))


def cost(book: PriceBook, provider: tuple[str, str], requested: str, served: str = "", *,
         usage: Usage = USAGE, **options: Any) -> tuple[Decimal | None, str]:  # fmt: skip
    names = book.seller(provider).names(requested, served)
    found = book.price(provider, names, usage, at=options.pop("at", NOW), **options)
    return found.usd, found.price_id


# ── what served ─────────────────────────────────────────────────────────────────────────────


def test_what_served_is_charged_and_not_what_a_deployment_is_called() -> None:
    """gpt-4 is $30 and $60 a million, gpt-4o-mini $0.15 and $0.60."""
    book = a_book(AZURE)
    who = ("azure", "azure")
    assert cost(book, who, "gpt-4")[0] == Decimal("0.09")
    assert cost(book, who, "gpt-4", "gpt-4o-mini-2024-07-18")[0] == Decimal("0.00075")
    named = a_book({**AZURE, "base_model": "gpt-4o-mini"})
    assert cost(named, who, "gpt-4")[0] == Decimal("0.00075")
    assert cost(named, who, "gpt-4", "gpt-4o-2024-08-06")[0] == Decimal("0.0125"), (
        "what served wins"
    )
    assert cost(named, who, "gpt-4-turbo-2024-04-09")[0] == Decimal("0.04"), (
        "another deployment than its own"
    )
    bound = named.upper_bound(
        who, named.seller(who).names("gpt-4"), prompt_tokens=1_000, max_output_tokens=1_000, at=NOW
    )
    assert bound == Decimal("0.09"), "what will serve is not known: the dearer of both names"
    usual = a_book({**AZURE, "deployment": "mine", "base_model": "gpt-4o-mini"})
    bound = usual.upper_bound(
        who, usual.seller(who).names("mine"), prompt_tokens=1_000, max_output_tokens=1_000, at=NOW
    )
    assert bound == Decimal("0.00075")


def test_the_flat_prices_hold_for_their_models_and_for_nothing_that_has_their_name() -> None:
    """The contract's: 2,000 tokens on azure's gpt-4-turbo are 0.02 USD."""
    who, book = ("azure", "azure"), a_book({**AZURE, "deployment": "gpt-4-turbo"})
    for served in ("", "gpt-4-turbo", "gpt-4-turbo-2024-04-09", "m\ufffd", "\0"):
        assert cost(book, who, "gpt-4-turbo", served) == (
            Decimal("0.02"),
            "contract:azure:gpt-4-turbo",
        )
    assert cost(book, who, "gpt-4-turbo", "gpt-4o-2024-08-06")[0] == Decimal("0.0125")
    assert cost(book, who, "gpt-4-turbo", "gpt-4-turbonium")[0] == Decimal("0.04"), "the list's"
    public = a_book({**AZURE, "deployment": "gpt-4-turbo"}, hybrid_prices="public")
    assert cost(public, who, "gpt-4-turbo")[0] == Decimal("0.04")


def test_a_fine_tuned_model_costs_its_own_price_and_not_its_base_models() -> None:
    book, who = PriceBook(), ("openai", "openai")
    assert cost(book, who, "ft:gpt-4o-mini-2024-07-18:acme::x")[0] == Decimal("0.0015")
    assert cost(book, who, "ft:gpt-9-never:acme::x")[0] is None
    assert encoding_of(("ft:gpt-4o-mini-2024-07-18:acme::x",)) == "o200k_base"


# ── who sells ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "model", "usd"),
    [
        ("https://api.groq.com/openai/v1", "llama-3.3-70b-versatile", "0.00138"),
        ("https://api.x.ai/v1", "grok-4-fast-reasoning", "0.0007"),
        ("https://api.deepseek.com/v1", "deepseek-reasoner", None),
        ("https://openrouter.ai/api/v1", "openai/gpt-4o-mini", "0.00075"),
        ("https://api.mistral.ai/v1", "mistral-large-latest", None),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "gemini-2.0-flash", "0.0005"),
        ("https://api.openai.com/v1", "gpt-4o-mini", "0.00075"),
        ("http://vllm:8000/v1", "gpt-4o-mini", "none"),
        ("http://vllm:8000/v1", "meta-llama/llama-3.3-70b-instruct", "none"),
    ],
)
def test_a_vendor_is_known_by_its_address_and_nobodys_price_holds_for_a_server_of_ones_own(
    url: str, model: str, usd: str | None
) -> None:
    found, price_id = cost(a_book(compatible(url)), ("other", "openai"), model)
    if usd == "none":
        assert (found, price_id) == (None, "")
    else:
        assert found is not None
        assert usd is None or found == Decimal(usd)


def test_a_vendor_has_a_name_for_people() -> None:
    listed = PriceBook().listed
    assert (listed.vendor_name("x-ai"), listed.vendor_name("nobody")) == ("X AI", "nobody")


def test_a_server_of_ones_own_costs_nothing_or_what_its_owner_says() -> None:
    who = ("other", "openai")
    free = a_book(compatible("http://vllm:8000/v1", free=True))
    assert cost(free, who, "llama") == (0, "free:other")
    assert explained("free:other").startswith("your own server")
    own = PriceSpec.model_validate({"provider": "other", "model": "*", "input": 1, "output": 2})
    assert cost(a_book(compatible("http://vllm:8000/v1", free=True), prices=(own,)), who, "llama")[
        0
    ] == Decimal("0.003")


def test_a_gateway_to_openai_and_one_that_is_configured_no_more_have_their_kinds_prices() -> None:
    gateway = a_book({"name": "o", "kind": "openai", "base_url": "https://llm.example.com/v1",
                      "model": "gpt-4o-mini", "key_variable": "K"})  # fmt: skip
    assert cost(gateway, ("o", "openai"), "gpt-4o-mini")[0] == Decimal("0.00075")
    assert cost(gateway, ("gone", "azure"), "gpt-4o-mini")[0] == Decimal("0.00075")
    assert cost(gateway, ("gone", "openai-compatible"), "gpt-4o-mini")[0] is None


def test_a_provider_says_how_much_its_model_writes() -> None:
    who = ("other", "openai")
    for changes, most in (({}, (131_072, False)), ({"max_output_tokens": 2_048}, (2_048, True))):
        assert a_book(compatible("http://vllm:8000/v1", **changes)).longest(who, ("llama",)) == most


# ── tokens with prices of their own ─────────────────────────────────────────────────────────


def test_tokens_that_are_written_to_a_cache_or_are_sound_have_prices_of_their_own() -> None:
    """gpt-5.6-sol: $4, $0.40 cached, $5 written to the cache, $20; gpt-audio: $2.50 and $32, $10 and $64."""
    book, who = PriceBook(), ("openai", "openai")
    usage = Usage(uncached_input=1_000, cached_input=500, visible_output=100, cache_write=600)
    assert cost(book, who, "gpt-5.6-sol", usage=usage, at=LATER)[0] == Decimal("0.0068")
    heard = Usage(uncached_input=1_000, visible_output=100, audio_input=900, audio_output=80)
    assert cost(book, who, "gpt-audio", usage=heard)[0] == Decimal("0.03437")


def test_cache_writes_and_sound_are_read_and_are_parts_of_their_classes() -> None:
    usage = read_usage(
        {
            "prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050,
            "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 300, "audio_tokens": 200},
            "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 10},
        }
    )  # fmt: skip
    assert usage == Usage(900, 100, 30, 20, UsageSource.PROVIDER, 300, 200, 10)
    odd = read_usage(
        {
            "prompt_tokens": 10, "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 99, "audio_tokens": 5},
            "completion_tokens_details": {"audio_tokens": 99},
        }
    )  # fmt: skip
    assert odd == Usage(6, 4, 5, 0, UsageSource.PROVIDER, 1, 5, 5)


@pytest.mark.parametrize(
    ("vendor", "body", "classes"),
    [
        # docs.x.ai: reasoning_tokens are not in completion_tokens; the total holds both.
        ("xAI", {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
                 "prompt_tokens_details": {"cached_tokens": 6}, "completion_tokens_details": {"reasoning_tokens": 94}},
         (26, 6, 9, 94)),
        # Gemini's OpenAI API: what it thought is in the total only.
        ("Gemini", {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 530}, (10, 0, 20, 500)),
        ("OpenAI", {"prompt_tokens": 10, "completion_tokens": 120, "total_tokens": 130,
                    "completion_tokens_details": {"reasoning_tokens": 100}}, (10, 0, 20, 100)),
        ("DeepSeek", {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "prompt_cache_hit_tokens": 64,
                      "prompt_cache_miss_tokens": 36}, (36, 64, 5, 0)),
        ("Moonshot", {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "cached_tokens": 64}, (36, 64, 5, 0)),
        ("odd", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 3,
                 "completion_tokens_details": {"reasoning_tokens": 99}}, (10, 0, 0, 5)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_a_model_thought_is_charged_wherever_its_vendor_counts_it(
    vendor: str, body: dict[str, Any], classes: tuple[int, ...]
) -> None:
    assert read_usage(body) == Usage(*classes, source=UsageSource.PROVIDER), vendor


# ── tiers ───────────────────────────────────────────────────────────────────────────────────


def test_a_tier_that_everybody_knows_has_its_price_from_the_day_it_is_known() -> None:
    """gpt-5, priority since 2026-10-12: $2.50 and $20 a million instead of $1.25 and $10."""
    who, priority = ("openai", "openai"), Charge("priority", None)
    usd, price_id = cost(PriceBook(), who, "gpt-5", charge=priority, at=LATER)
    assert usd == Decimal("0.0225")
    assert price_id.endswith(":openai:gpt-5#priority")
    assert recalled_charge(price_id) == priority
    assert explained(price_id).endswith("gpt-5 of openai, its price for tier priority")
    assert cost(PriceBook(), who, "gpt-5", charge=priority)[0] is None, "not known of that day"
    assert cost(PriceBook(), ("azure", "azure"), "gpt-5", charge=priority, at=LATER)[0] is None, (
        "another's tier"
    )
    assert cost(PriceBook(), who, "gpt-3.5-turbo", charge=priority, at=LATER)[0] is None, (
        "flat, for one tier"
    )


def test_groqs_name_for_its_standard_tier_is_one() -> None:
    assert charge_of(served="on_demand", asked="", share=Decimal("0.5")) == Charge()


def a_price(**changes: Any) -> PriceSpec:
    return PriceSpec.model_validate({"model": "gpt-5", "input": 2, "output": 8, **changes})


def test_a_price_of_ones_own_may_be_for_any_tier_and_for_every_class_and_for_a_call() -> None:
    """900 × $2 + 100 × $3 + … per million, and $0.01 for the call."""
    full = a_price(cache_write=3, audio_input=10, audio_output=20, per_call="0.01", tier="express")
    usage = Usage(900, 0, 100, 0, cache_write=100, audio_input=200, audio_output=50)
    book, who = PriceBook((full,)), ("openai", "openai")
    usd, price_id = cost(book, who, "gpt-5", usage=usage, charge=Charge("express", None))
    assert usd == Decimal("0.01") + Decimal(600 * 2 + 100 * 3 + 200 * 10 + 50 * 8 + 50 * 20) / 10**6
    assert recalled_charge(price_id) == Charge("express", None)
    assert (
        explained(price_id)
        == "your [[prices]] since 1970-01-01 for gpt-5 at any provider, tier express"
    )
    assert cost(book, who, "gpt-5", usage=usage)[1].startswith("genai-prices@")


def test_a_discount_is_taken_off_what_would_hold_without_it() -> None:
    """15 % off $1.25 and $10, off the flat price, and off a tier that everybody knows."""
    off = PriceSpec.model_validate({"model": "*", "provider": "openai", "discount": "0.15"})
    book, who = PriceBook((off,)), ("openai", "openai")
    usd, price_id = cost(book, who, "gpt-5")
    assert usd == Decimal("0.0095625")
    assert "0.15 off public list genai-prices" in explained(price_id)
    assert recalled_charge(price_id) == Charge()
    assert cost(book, who, "gpt-3.5-turbo")[0] == Decimal("0.0034")
    assert cost(book, who, "gpt-5", charge=Charge("priority", None), at=LATER)[0] == Decimal(
        "0.019125"
    )
    assert cost(book, who, "gpt-5", charge=Charge("flex", Decimal("0.5")))[0] == Decimal(
        "0.00478125"
    )
    assert cost(book, who, "no-such-model-x1")[0] is None
    assert cost(book, ("azure", "azure"), "gpt-5")[0] == Decimal("0.01125")


def test_a_standard_price_of_ones_own_says_nothing_of_tiers() -> None:
    who = ("openai", "openai")
    book = PriceBook((a_price(),))
    assert cost(book, who, "gpt-5", charge=Charge("priority", None), at=LATER)[0] is None
    assert cost(book, who, "gpt-5", charge=Charge("flex", Decimal("0.5")), at=LATER)[0] == Decimal(
        "0.005"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"discount": "0.1"}, "leave out input, output"),
        ({"input": None}, "input and output are needed, or a discount"),
        ({"tier": "Very Fast"}, "should match pattern"),
        ({"discount": "1.5", "input": None, "output": None}, "less than or equal to 1"),
        ({"input": "NaN"}, "finite"),
    ],
)
def test_half_a_price_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        a_price(**changes)


@pytest.mark.parametrize(
    ("price_id", "said"),
    [
        ("own:azure:gpt-4o*:flex:2026-01-31:above-1000",
         "your [[prices]] since 2026-01-31 for gpt-4o* at azure, tier flex, for prompts above 1000 tokens"),
        ("contract:openai:gpt-3.5-turbo*0.5:flex", "0.5 of it, for tier flex: flat price of the original, input and output alike (HYBRID_PRICES)"),
        ("genai-prices@0.2.3:openai:gpt-4o", "public list genai-prices 0.2.3: gpt-4o of openai"),
        ("", "not known: its calls cost NULL, not 0"),
        ("unpriced:priority", "not known: its calls cost NULL, not 0"),
    ],
)  # fmt: skip
def test_where_a_price_comes_from_is_said_in_words(price_id: str, said: str) -> None:
    assert explained(price_id) == said


# ── a newer list ────────────────────────────────────────────────────────────────────────────

#: As the genai-prices project publishes it.
NEWER: list[dict[str, Any]] = [
    {
        "id": "openai", "name": "OpenAI", "api_pattern": "https://api\\.openai\\.com",
        "models": [
            {
                "id": "gpt-4o-mini", "match": {"equals": "gpt-4o-mini"}, "context_window": 128_000,
                "prices": [
                    {"prices": {"input_mtok": 1, "output_mtok": 2}},
                    {"constraint": {"start_date": "2026-01-20"}, "prices": {"input_mtok": 3, "output_mtok": 4}},
                ],
            },
            {
                "id": "gpt-5", "match": {"starts_with": "gpt-5"},
                "prices": {"input_mtok": {"base": 1, "tiers": [{"start": 1_000, "price": 2}]}, "output_mtok": 8,
                           "requests_kcount": 12},
                "price_variants": [
                    {"when": {"service_tier": "flex"}, "prices": {"input_mtok": 0.5},
                     "constraint": {"start_date": "2026-01-25"}},
                ],
            },
        ],
    }
]  # fmt: skip


def written(folder: Path, text: str) -> Settings:
    file = folder / "list.json"
    file.write_text(text)
    return Settings.model_validate({"hybrid_price_list": str(file)})


def test_a_newer_list_takes_the_place_of_the_packages_and_names_its_day(tmp_path: Path) -> None:
    stored = stored_list(NEWER, source="here", day=date(2026, 1, 30))
    assert stored_list(stored, source="there", day=date(2026, 1, 31))["providers"] == NEWER
    book, who = book_of(written(tmp_path, json.dumps(stored))), ("openai", "openai")
    assert cost(book, who, "gpt-4o-mini") == (
        Decimal("0.007"),
        "genai-prices@2026-01-30:openai:gpt-4o-mini",
    )
    assert cost(book, who, "gpt-4o-mini", at=NOW.replace(day=1))[0] == Decimal("0.003")
    assert cost(book, who, "gpt-5")[0] == Decimal("0.021"), "a fee for each call"
    assert cost(book, who, "gpt-5", usage=Usage(1_001))[0] == Decimal("0.014002")
    assert cost(book, who, "gpt-5", charge=Charge("flex", None))[0] == Decimal("0.0205")
    assert book.window(who, ("gpt-4o-mini",)) == 128_000
    assert cost(book, ("azure", "azure"), "gpt-4o-mini")[0] is None, "it names no such vendor"
    assert age_of(book.listed) == "list genai-prices@2026-01-30, its newest price is of 2026-01-25"


def test_a_list_as_it_is_published_may_be_put_there_by_hand(tmp_path: Path) -> None:
    settings = written(tmp_path, json.dumps(NEWER))
    moment = datetime(2026, 1, 29, 12, tzinfo=UTC).timestamp()
    os.utime(settings.hybrid_price_list or "", (moment, moment))
    assert book_of(settings).listed.name == "genai-prices@2026-01-29"


def test_a_list_without_days_has_no_age() -> None:
    plain = [{**NEWER[0], "models": [{**NEWER[0]["models"][0], "prices": {"input_mtok": 1}}]}]
    assert age_of(read_list(plain, day=date(2026, 1, 30))) == "list genai-prices@2026-01-30"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "JSONDecodeError"),
        ("{}", "KeyError"),
        ('{"fetched_on": "soon", "providers": []}', "ValueError"),
        ('"words"', "no list of providers"),
        ("[]", "names no models"),
        ('[{"id": "openai"}]', "not in genai-prices' format"),
    ],
)
def test_what_is_no_list_of_prices_says_so(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"HYBRID_PRICE_LIST = .*{said}.*hybrid costs prices update"
    ):
        book_of(written(tmp_path, text))


# ── a list that changes while a worker runs ─────────────────────────────────────────────────


def test_a_worker_takes_a_changed_list_over_and_keeps_the_old_one_before_a_broken_one(
    tmp_path: Path,
) -> None:
    file, said = tmp_path / "prices.json", list[tuple[str, dict[str, Any]]]()

    def write(content: str) -> None:
        file.with_suffix(".new").write_text(content)
        file.with_suffix(".new").replace(file)

    def log(event: LogEvent, **fields: Any) -> None:
        said.append((event.value, fields))

    def stored(day: date) -> str:
        return json.dumps(stored_list(NEWER, source="here", day=day))

    write(stored(date(2026, 1, 30)))
    settings = Settings.model_validate({"hybrid_price_list": str(file)})
    book, clock = book_of(settings), ManualClock(NOW)
    watch = PriceWatch(settings, book, clock=clock, log=log)

    async def looked() -> str:
        await watch.look()
        return book.listed.name

    assert asyncio.run(looked()).endswith("2026-01-30")
    assert said == []
    write(stored(date(2026, 1, 31)))
    assert asyncio.run(looked()).endswith("2026-01-31")
    assert [event for event, _ in said] == ["prices_renewed"]
    write("[] no list")
    assert asyncio.run(looked()).endswith("2026-01-31"), "the old one holds on"
    file.unlink()
    assert asyncio.run(looked()).endswith("2026-01-31")
    asyncio.run(looked())
    assert [event for event, _ in said] == ["prices_renewed", "prices_kept", "prices_kept"], (
        "once for each change"
    )
    assert "HYBRID_PRICE_LIST" in said[1][1]["why"]
    write(stored(date(2026, 2, 1)))
    assert asyncio.run(looked()).endswith("2026-02-01")


def test_without_a_list_of_ones_own_there_is_nothing_to_watch() -> None:
    book, said = PriceBook(), list[str]()
    watch = PriceWatch(
        Settings(), book, clock=ManualClock(NOW), log=lambda event, **_: said.append(event.value)
    )
    asyncio.run(watch.look())
    assert (said, book.listed.name) == ([], PriceBook().listed.name)


def test_lengths_are_right_also_of_more_models_than_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agents.pricing.lengths.MOST_MODELS", 1)
    book, openai = PriceBook(), ("openai", "openai")
    first = book.window(openai, ("gpt-4o-mini",)), book.longest(openai, ("gpt-4o-mini",))
    assert book.longest(openai, ("gpt-3.5-turbo",)) != first[1]
    assert (book.window(openai, ("gpt-4o-mini",)), book.longest(openai, ("gpt-4o-mini",))) == first
    assert first == (128_000, (16_384, True))


def test_a_calls_price_is_what_its_rates_say() -> None:
    book, openai, usage = PriceBook(), ("openai", "openai"), Usage(1_000, 0, 500, 0)
    rates = book.rates(openai, ("gpt-4o",), at=NOW, prompt_tokens=usage.input)
    price = book.price(openai, ("gpt-4o",), usage, at=NOW)
    assert rates is not None
    assert price.usd == rates.usd(usage)
    assert price.input_usd is not None
    assert price.input_usd < rates.usd(usage)
