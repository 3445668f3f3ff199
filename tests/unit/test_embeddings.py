"""Embeddings: what an intent may say, how vectors are written, what is refused before it is paid."""

import base64
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.deciding.batching import Line, Pool, Rules, ready
from agents.deciding.cache import AnswerCache, request_key
from agents.deciding.embedding import (
    ASSUMED,
    MOST_TOKENS,
    MOST_TOKENS_TOGETHER,
    EmbeddingModel,
    Length,
    Sizes,
    bytes_of,
    is_short,
    known_model,
    length_of,
    size_problem,
    tokens_problem,
)
from agents.deciding.routes import Router
from agents.deciding.vectors import vectors_failure
from agents.executing.allowance import NO_ANSWER
from agents.executing.allowance import length_of as answer_length
from agents.executing.asking import Call
from agents.executing.prompts import load_prompts, render
from agents.pricing.rates import Prompt, Rates
from agents.pricing.usage import Usage, read_input_usage
from hybrid.stack.simulated_embeddings import vector_of
from schemas.embeddings import MOST_INPUTS, embedding_problem, inputs_of, packed, unpacked, written
from schemas.events import CachedAnswer
from schemas.outcome import CostInfo
from schemas.settings import Settings
from schemas.vocabulary import FailureKind, UsageSource
from streams.triage.pricing import Estimator, Priced
from streams.triage.typical import Typical
from tests.builders import NOW, a_letter, a_result, a_task, an_intent

SMALL = known_model(["text-embedding-3-small"])
ADA = known_model(["ada-of-ours", "text-embedding-ada-002"])
ROOM = 100_000


def embedding(given: Any = "a text", **changes: Any) -> Any:
    data = changes.pop("data", {} if given is None else {"input": given})
    return an_intent(task="embedding", data=data, **changes)


# ── what an intent may say ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("good", ["a text", ["one", "two"], ["x"] * MOST_INPUTS, " "])
def test_a_text_or_a_list_of_texts_is_taken(good: Any) -> None:
    intent = embedding(good, parameters={"dimensions": 8, "user": "u", "input_type": "query"})
    assert embedding_problem(intent) is None
    assert inputs_of(intent) == (good if isinstance(good, list) else [good])


@pytest.mark.parametrize(
    ("intent", "told"),
    [
        (embedding(None), "data.input is missing"),
        (embedding([]), "data.input is missing"),
        (embedding({"text": "x"}), "data.input is missing"),
        (embedding(""), "data.input is empty"),
        (embedding(["a", ""]), "data.input.1: each input must be a text that is not empty"),
        (embedding([[1, 2]]), "data.input.0: each input"),
        (embedding(["a"] * 2_049), "data.input has 2049 texts: at most 2048 are taken"),
        (embedding(data={"input": "a", "messages": []}), "data.messages: "),
        (embedding(response_schema={}), "response_schema: task embedding takes none"),
        (embedding(temperature=1), "temperature: task embedding takes none"),
        (embedding(max_output_tokens=1), "max_output_tokens: task embedding takes none"),
        (embedding(send_to_onlyfans=True), "send_to_onlyfans: an embedding has no content"),
        (embedding(parameters={"tools": []}), "parameters.tools: task embedding takes none"),
        (embedding(parameters={"input": "a"}), "parameters.input is said by input in data"),
        (embedding(parameters={"dimensions": 0}), "parameters.dimensions must be a whole number"),
        (embedding(parameters={"dimensions": True}), "parameters.dimensions must be a whole"),
        (embedding(parameters={"encoding_format": "hex"}), "must be base64 or float"),
        (embedding(parameters={"encoding_format": []}), "must be base64 or float"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_no_embedding_is_made_of_is_named(intent: Any, told: str) -> None:
    problem = embedding_problem(intent)
    assert problem is not None
    assert problem.startswith(told) or problem.endswith(told)


def test_inputs_are_sent_as_they_are_and_no_template_is_asked() -> None:
    texts = ["<b>", 'say "x"']
    assert render(embedding(texts), load_prompts()) == [{"content": one} for one in texts]


def test_a_request_for_vectors_is_another_than_a_chats() -> None:
    chat = an_intent(data={"input": "a"})
    assert request_key(chat, "m", []) != request_key(embedding("a"), "m", [])


# ── vectors ─────────────────────────────────────────────────────────────────────────────────────

floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9)


@given(st.lists(floats, min_size=1, max_size=8))
def test_a_vector_is_the_same_by_either_way_to_write_it(numbers: list[float]) -> None:
    text = packed(numbers)
    assert unpacked(text).tolist() == numbers
    assert written([text], None) == written([text], "base64") == [text]
    (listed,) = written([text], "float")
    assert packed(listed) == text  # type: ignore[arg-type]
    assert len(text) + 3 == bytes_of(Length(len(numbers)))
    assert len(str(listed).replace(" ", "")) <= bytes_of(Length(len(numbers)), as_floats=True)


@pytest.mark.parametrize("bad", ["", "?", "AAAA", packed([1.0])[:-2], "AACAfw==", "AADAfw=="])
def test_what_is_no_vector_is_not_read_as_one(bad: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of base64, of struct, or ours
        unpacked(bad)


def test_a_result_gives_its_vectors_as_numbers() -> None:
    vectors = [[1.0, 0.5], [0.25, -2.0]]
    result = a_result(a_task())
    assert result.vectors == []
    for form in (vectors, [packed(one) for one in vectors]):
        assert result.model_copy(update={"embeddings": form}).vectors == vectors


def test_a_simulated_vector_follows_from_its_text() -> None:
    assert vector_of("a", 8) == vector_of("a", 8) != vector_of("b", 8)
    assert abs(sum(one * one for one in vector_of("a", 1536)) - 1) < 0.1


@pytest.mark.parametrize(
    ("vectors", "asked", "code"),
    [
        ([packed([1, 2])], None, None),
        ([packed([1, 2])], 2, None),
        ([packed([1, 2])], 1, "dimensions_differ"),
        ([], None, "vectors_missing"),
        ([packed([1])] * 2, None, "vectors_missing"),
    ],
)
def test_an_answer_has_a_vector_for_each_input(
    vectors: list[str], asked: int | None, code: str | None
) -> None:
    intent = embedding("a", parameters={} if asked is None else {"dimensions": asked})
    failure = vectors_failure(intent, vectors)
    assert (failure and failure.code) == code
    assert failure is None or failure.kind is FailureKind.BAD_OUTPUT


def test_the_cache_counts_the_bytes_of_vectors() -> None:
    cache = AnswerCache(10_000)
    answer = CachedAnswer(provider="p", served_model="m", content="", stored_at_ms=0)
    for name in ("a", "b"):
        cache.put(name, answer.model_copy(update={"embeddings": ["x" * 8_192]}))
    assert cache.get("a", now_ms=0, ttl_s=1) is None
    assert cache.get("b", now_ms=0, ttl_s=1) is not None


# ── what is refused before it is paid ───────────────────────────────────────────────────────────


def test_a_model_is_known_by_any_of_its_names() -> None:
    assert EmbeddingModel("text-embedding-3-small", 1_536) == SMALL
    assert ADA is not None
    assert not ADA.shortens
    assert known_model(["openai/text-embedding-3-large"]) is not None
    assert known_model(["text-embedding-3-smaller", "mine"]) is None


@pytest.mark.parametrize(
    ("known", "asked", "seen", "length"),
    [
        (SMALL, None, 7, Length(1_536)),
        (SMALL, 256, None, Length(256)),
        (ADA, 1_536, None, Length(1_536)),
        (None, 256, 7, Length(256)),
        (None, None, 7, Length(7)),
        (None, None, None, Length(ASSUMED, assumed=True)),
    ],
)
def test_the_length_of_vectors_is_asked_for_known_seen_or_assumed(
    known: EmbeddingModel | None, asked: int | None, seen: int | None, length: Length
) -> None:
    assert length_of(known, asked=asked, seen=seen) == length


def test_no_model_gives_longer_vectors_than_it_has() -> None:
    assert "at most 1536 dimensions" in str(length_of(SMALL, asked=1_537, seen=None))
    assert "and no other number" in str(length_of(ADA, asked=256, seen=None))


def test_models_asked_last_are_remembered() -> None:
    sizes = Sizes(most=2)
    for model, length in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        sizes.note(model, length)
    assert [sizes.of(one) for one in "abc"] == [3, None, 4]


@given(st.integers(1, 3_072), st.booleans(), st.integers(-10, 200_000), st.integers(1, MOST_INPUTS))
def test_as_many_inputs_fit_as_the_refusal_says(
    dimensions: int, as_floats: bool, room: int, count: int
) -> None:
    length = Length(dimensions)
    problem = size_problem(count, length, as_floats=as_floats, room_bytes=room)
    if problem is None:
        assert count * bytes_of(length, as_floats=as_floats) <= room
        return
    fits = int(problem.split("at most ")[1].split()[0])
    assert fits < count
    assert size_problem(fits, length, as_floats=as_floats, room_bytes=max(0, room)) is None
    assert size_problem(fits + 1, length, as_floats=as_floats, room_bytes=room) is not None


def test_a_length_that_is_assumed_is_said_to_be() -> None:
    problem = size_problem(100, Length(ASSUMED, assumed=True), as_floats=False, room_bytes=ROOM)
    assert problem is not None
    assert "100 vectors assumed to have 3072 dimensions" in problem


def test_texts_are_counted_only_where_their_bytes_come_near_the_limit() -> None:
    assert is_short(["a" * MOST_TOKENS])
    assert not is_short(["a" * (MOST_TOKENS + 1)])
    assert not is_short(["ä" * (MOST_TOKENS // 2 + 1)])
    assert not is_short(["a" * 8_000] * 38)


def test_what_has_too_many_tokens_is_named() -> None:
    assert SMALL is not None
    assert tokens_problem(SMALL, [MOST_TOKENS] * 36) is None
    each = tokens_problem(SMALL, [1, MOST_TOKENS + 1])
    assert each is not None
    assert each.startswith("data.input.1 has 8193 tokens: text-embedding-3-small takes at most")
    whole = tokens_problem(SMALL, [MOST_TOKENS] * 37)
    assert whole is not None
    assert f"at most {MOST_TOKENS_TOGETHER} in a request" in whole


# ── money ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 8, "total_tokens": 8}, 8),
        ({"total_tokens": 8}, 8),
        ({"prompt_tokens": 8, "total_tokens": 80}, 8),
        ({"prompt_tokens": 0}, None),
        ({"prompt_tokens": "8"}, None),
        ("8", None),
        ({}, None),
    ],
)
def test_usage_of_what_has_no_answer_in_words(usage: Any, tokens: int | None) -> None:
    read = read_input_usage(usage)
    assert read == (tokens and Usage(uncached_input=tokens, source=UsageSource.PROVIDER))


def test_only_the_prompt_is_paid_for() -> None:
    dollar = Decimal(1)
    rates = Rates("p", dollar, dollar, dollar, dollar, dollar, dollar, dollar).asked_only()
    prompt, length = Prompt(1_000_000), answer_length(embedding(), 100, known=True, window=8_192)
    assert length is NO_ANSWER
    assert rates.at_most(prompt, length.most) == dollar
    assert length.within(dollar, rates, prompt) is length
    assert length.within(Decimal("0.99"), rates, prompt) is None


def test_a_replay_is_priced_by_its_inputs_alone() -> None:
    typical = Typical()
    chat, paid = a_result(a_task()), CostInfo(output_tokens=40)
    typical.add(chat.model_copy(update={"cost_info": paid}))
    typical.add(chat.model_copy(update={"embeddings": [packed([1])]}))
    assert typical.output_tokens(chat.type, "openai") == 40, "vectors are no short answer"
    value = embedding(["a" * 4_000]).to_json()
    letter = a_letter(original={"value": base64.b64encode(value).decode()})
    priced = Estimator(Settings(), typical, at=NOW).price(letter)
    assert isinstance(priced, Priced)
    assert (priced.route, priced.input_tokens) == (("openai",), 1_000)
    assert priced.expected_usd == Decimal("0.00002")
    assert Decimal("0.00008") < (priced.most_usd or 0) < Decimal("0.00009")


# ── routes ──────────────────────────────────────────────────────────────────────────────────────


def test_only_providers_of_the_same_model_stand_in() -> None:
    kinds = {"a": "openai", "b": "azure", "c": "openai", "d": "openai"}
    router = Router(kinds, embedders={"b": "large", "c": "small", "d": "small"})
    assert router.route(embedding(), identity="i") == ("c", "d")
    assert router.route(embedding(force_provider="b"), identity="i") == ("b",)
    assert router.route(embedding(model="m"), identity="i") == ("a", "c", "d", "b")
    assert router.route(an_intent(), identity="i") == ("a", "c", "d", "b")
    assert router.route(embedding(force_provider="a"), identity="i") == ()
    code, message = router.absence(embedding(force_provider="a"))
    assert code == "no_embedding_model"
    assert "the intent's route (a) has a model for task embedding" in message


def test_openai_has_a_model_for_embeddings_and_azure_where_it_is_named() -> None:
    assert Settings().embedders() == {"openai": "text-embedding-3-small"}
    both = Settings.model_validate({
        "hybrid_azure_embedding_deployment": "of-ours",
        "models": [{"name": "e", "at": {"azure": "of-ours"}, "base_model": "text-embedding-3-small"}],
    })  # fmt: skip
    assert set(both.embedders().values()) == {"text-embedding-3-small"}


# ── batches ─────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_is_of_one_task_and_of_50_000_inputs_at_most() -> None:
    def line(number: int, inputs: int) -> Line:
        return Line(f"{number:02}", "p", "m", size=1, since_ms=0, inputs=inputs)

    lines = [line(number, 2_000 if number % 2 else 0) for number in range(60)]
    made = ready(lines, Rules(wait_ms=1, most_lines=100), now_ms=10)
    assert sorted((len(one), sum(line.inputs for line in one)) for one in made) == [
        (5, 10_000), (25, 50_000), (30, 0),
    ]  # fmt: skip


def test_both_tasks_of_a_model_share_its_pool() -> None:
    lines = [
        Line(name, "p", "m", size=1, since_ms=0, tokens=20, inputs=inputs)
        for name, inputs in (("chat", 0), ("vectors", 1))
    ]
    rules, pools = Rules(wait_ms=1, most_lines=1), {("p", "m"): Pool(100, used=70)}
    (made,) = ready(lines, rules, now_ms=10, pools=pools)
    assert [one.line_id for one in made] == ["chat"]


def test_a_call_for_vectors_is_kept_by_no_provider_and_expects_no_answer_in_words() -> None:
    provider: Any = SimpleNamespace(keeping=object())
    chat = Call(provider, "m", [], prompt_tokens=10, max_output=None)
    assert (chat.keeping, chat.expected_tokens(an_intent())) == (provider.keeping, 266)
    vectors = replace(chat, embeds=True)
    assert (vectors.keeping, vectors.expected_tokens(embedding())) == (None, 10)
