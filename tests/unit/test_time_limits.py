"""How long a call may take, by model."""

from pathlib import Path

import pytest

from agents.clock import SystemClock
from agents.providers.time_limits import LIGHT_LIMITS, REASONING_LIMITS, TimeLimits, TimeTable
from hybrid.config import load_settings
from hybrid.errors import UsageError
from hybrid.providing import build_providers
from schemas.providers import TimeLimitSpec

OWN = TimeLimits(30, 10, 5)


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        ("gpt-4o", False), ("gpt-3.5-turbo", False), ("gpt-4-turbo", False), ("", False),
        ("o1", True), ("o3-mini", True), ("o4-mini-2025-04-16", True), ("openai/o3", True),
        ("gpt-5", True), ("gpt-5.4-mini", True), ("gpt-5-chat-latest", False), ("GPT-6", True),
        ("deepseek-reasoner", True), ("deepseek-chat", False), ("deepseek/deepseek-r1:free", True),
        ("grok-4.3", True), ("grok-4-fast-non-reasoning", False), ("grok-3", False),
        ("gemini-2.5-pro", True), ("google/gemini-3-pro-preview", True), ("gemini-2.0-flash", False),
        ("magistral-medium-latest", True), ("mistral-large-latest", False), ("qwen3-32b", True),
        ("Qwen/Qwen2.5-72B-Instruct", False), ("openai/gpt-oss-120b", True), ("omni", False),
    ],
)  # fmt: skip
def test_models_that_reason_are_given_time(model: str, *, reasons: bool) -> None:
    wanted = REASONING_LIMITS if reasons else OWN
    assert TimeTable("openai", OWN).of(model) == wanted


@pytest.mark.parametrize("model", ["gpt-6-luna", "openai/gpt-5.6-luna", "gpt-5.4-nano"])
def test_the_smallest_of_them_are_given_less_time_unless_more_thought_is_asked_for(
    model: str,
) -> None:
    table = TimeTable("openai", OWN)
    assert table.of(model) == LIGHT_LIMITS
    assert table.of(model, reasons=True) == REASONING_LIMITS
    assert OWN.whole_s < LIGHT_LIMITS.whole_s < REASONING_LIMITS.whole_s


def test_a_request_that_asks_for_reasoning_is_given_time_whatever_the_deployment_is_called() -> (
    None
):
    assert TimeTable("azure", OWN).of("my-deployment", reasons=True) == REASONING_LIMITS


def test_what_is_set_holds_and_a_longer_limit_of_ones_own_is_not_shortened() -> None:
    table = TimeTable("openai", OWN, fixed=frozenset({"timeout", "idle_timeout"}))
    assert table.of("o3") == TimeLimits(30, 300, 5)
    assert TimeTable("openai", TimeLimits(900, 10, 5)).of("o3").whole_s == 900


def test_the_first_line_that_fits_model_and_provider_wins() -> None:
    lines = [
        TimeLimitSpec(model="my-*", provider="azure", timeout=1),
        TimeLimitSpec(model="my-*", timeout=2, first_token_timeout=3, idle_timeout=4),
        TimeLimitSpec(model="*", timeout=5),
    ]
    assert TimeTable("azure", OWN, lines=lines).of("my-o3").whole_s == 1
    assert TimeTable("openai", OWN, lines=lines).of("my-o3") == TimeLimits(2, 3, 4)
    assert TimeTable("openai", OWN, lines=lines).of("o3") == TimeLimits(5, 300, 60)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [({}, 600.0), ({"HYBRID_OPENAI_TIMEOUT": "30"}, 30.0), ({"HYBRID_OPENAI_TIMEOUT": "20"}, 20.0)],
)
def test_a_timeout_that_was_set_is_told_from_its_default(
    environment: dict[str, str], wanted: float, tmp_path: Path
) -> None:
    found = {"OPENAI_API_KEY": "k", **environment}
    settings = load_settings(environment=found, file=tmp_path / "none.toml")
    provider = build_providers(settings, SystemClock())["openai"]
    assert provider.limit_s("o3") == wanted
    assert provider.limit_s("gpt-4o") == min(wanted, 30.0)
    assert provider.limit_s(None) == min(wanted, 120.0), "the default model thinks, for seconds"


def test_time_limits_are_tables_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "hybrid.toml"
    file.write_text('[[time_limits]]\nmodel = "gpt-6-*"\ntimeout = 7\n')
    settings = load_settings(environment={"OPENAI_API_KEY": "k"}, file=file)
    assert build_providers(settings, SystemClock())["openai"].limit_s(None) == 7
    file.write_text('[[time_limits]]\nmodel = "x"\ntimeout = 0\n')
    with pytest.raises(UsageError, match="time_limits"):
        load_settings(environment={}, file=file)
