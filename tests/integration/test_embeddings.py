"""Embeddings on real parts: vectors in results, each call on record at the simulator's price."""

from decimal import Decimal

import pytest

from hybrid.stack.simulated_embeddings import vector_of
from schemas.embeddings import packed
from schemas.outcome import WorkflowResult
from streams.store.clickhouse import ClickHouse
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually

pytestmark = pytest.mark.integration


def test_embeddings_are_in_results_and_their_calls_on_record(stack: RunningStack) -> None:
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    case = Case(stack)
    texts = [f'{{"marker":"{case.name}"}} text {number}' for number in range(100)]
    whole = case.intent({"input": texts}, task="embedding")
    listed = case.intent(
        {"input": texts[0]}, task="embedding",
        parameters={"encoding_format": "float", "dimensions": 8},
    )  # fmt: skip
    large = case.intent({"input": ["a"] * 2_048}, task="embedding")
    elsewhere = case.intent({"input": "a"}, task="embedding", force_provider="azure")
    case.publish(whole, listed, large, elsewhere)
    found = case.wait(4)
    results = {
        name: WorkflowResult.model_validate(documents[0])
        for name, documents in found.results.items()
    }
    assert set(results) == {whole["intent_id"], listed["intent_id"]}
    expected = [packed(vector_of(text, 1_536)) for text in texts]
    assert results[whole["intent_id"]].embeddings == expected
    (vector,) = results[listed["intent_id"]].vectors
    assert packed(vector) == packed(vector_of(texts[0], 8))
    letters = {name: documents[0] for name, documents in found.dead_letters.items()}
    assert letters[large["intent_id"]]["error_code"] == "result_too_large"
    assert "at most 197 inputs do" in letters[large["intent_id"]]["error_message"]
    assert letters[elsewhere["intent_id"]]["error_code"] == "no_embedding_model"
    calls = case.calls()
    assert len(calls) == 2
    billed = sum(Decimal(call["billed_usd"]) for call in calls)
    assert billed == sum(one.total_cost_usd or 0 for one in results.values())
    assert rows(case) == (2, sum(call["tokens"] for call in calls), 0, billed)


def rows(case: Case) -> tuple[int, int, int, Decimal]:
    """Calls of the case in ClickHouse, once both have ended: their tokens in, out, and dollars."""
    store = ClickHouse(case.stack.settings)
    try:
        (found,) = eventually(
            lambda: store.rows(
                "SELECT count(), sum(uncached_input_tokens), "
                "sum(visible_output_tokens + reasoning_tokens), toString(sum(cost_usd)) "
                "FROM provider_attempts FINAL WHERE status = 'finished' AND used_result "
                f"AND startsWith(intent_id, '{case.name}')"
            )[1],
            lambda seen: seen[0][0] == 2,
        )
    finally:
        store.close()
    return found[0], found[1], found[2], Decimal(found[3])
