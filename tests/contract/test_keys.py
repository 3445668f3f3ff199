"""Keys of a provider by HTTP: which one a call is made with, and what its refusal leads to."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agents.capacity.breaker import BreakerPolicy, BreakerState
from agents.capacity.limiter import ProviderLimits
from agents.capacity.turns import Capacity
from agents.clock import ManualClock, SystemDice
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.deciding.hedging import HedgePolicy
from agents.deciding.policy import RetryPolicy
from agents.deciding.routes import Router
from agents.executing.executor import Executor, Rules
from agents.executing.ground import Ground
from agents.executing.prompts import load_prompts
from agents.pricing.prices import PriceBook
from agents.providers.requests import Provider
from agents.task import Completed, Deferred, Failed, Outcome
from hybrid.config import load_settings
from hybrid.errors import UsageError
from hybrid.provider_checks import Check, examine_provider
from hybrid.providing import build_providers
from schemas.attempt import ProviderAttempt
from schemas.vocabulary import LogEvent
from tests.builders import NOW, a_task, an_intent
from tests.contract.test_answers import chat, said
from tests.contract.test_policy_lines import Free, Record

BAD_KEY = said({"error": {"code": "invalid_api_key"}}, 401)
NO_MONEY = said({"error": {"code": "insufficient_quota"}}, 429)
REASONLESS = said({"error": {"message": "no"}}, 403)


def throttled(seconds: int) -> bytes:
    return said({"error": {"code": "rate_limit_exceeded"}}, 429, f"Retry-After: {seconds}")


@dataclass
class KeyedVendor:
    """Answers by the key that it is shown; a key that it does not know is a bad one."""

    #: The last of several again and again.
    answers: dict[str, bytes | list[bytes]]
    seen: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        pairs = (line.partition(": ") for line in head.strip().split("\r\n")[1:])
        headers = {name.lower(): value for name, _, value in pairs}
        await reader.readexactly(int(headers.get("content-length", "0")))
        key = headers.get("api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        self.seen.append(key)
        self.headers.append(headers)
        answer = self.answers.get(key, BAD_KEY)
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        writer.write(answer)
        await writer.drain()
        writer.close()


@dataclass
class Desk:
    """A worker's executor before one vendor, as hybrid.toml and variables say; no time passes."""

    folder: Path
    table: str
    vendor: KeyedVendor
    environment: dict[str, str] = field(default_factory=dict)
    kind: str = "openai-compatible"
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    record: Record = field(default_factory=Record)
    logged: list[dict[str, Any]] = field(default_factory=list)
    capacity: Capacity = field(init=False)
    provider: Provider = field(init=False)
    executor: Executor = field(init=False)

    def log(self, event: LogEvent, /, *, level: str = "info", **fields: object) -> None:
        self.logged.append({"event": event.value, "level": level, **fields})

    def run(self, steps: Callable[["Desk"], Awaitable[None]]) -> None:
        async def all_of_it() -> None:
            server = await asyncio.start_server(self.vendor.serve, "127.0.0.1", 0)
            try:
                self._build(server.sockets[0].getsockname()[1])
                await steps(self)
            finally:
                if hasattr(self, "provider"):
                    await self.provider.close()
                server.close()

        asyncio.run(all_of_it())

    def _build(self, port: int) -> None:
        address = f"http://127.0.0.1:{port}"
        where = (
            f'endpoint = "{address}"\ndeployment = "m"'
            if self.kind == "azure"
            else f'base_url = "{address}/v1"\nmodel = "m"'
        )
        file = self.folder / "hybrid.toml"
        file.write_text(f'[[providers]]\nname = "v"\nkind = "{self.kind}"\n{where}\n{self.table}\n')
        settings = load_settings(environment=self.environment, file=file)
        providers = build_providers(settings, self.clock, self.log)
        self.provider = providers["v"]
        self.capacity = Capacity({"v": ProviderLimits()}, BreakerPolicy(), clock=self.clock)
        self.executor = Executor(
            providers=providers, router=Router({"v": self.kind}), capacity=self.capacity,
            rules=Rules(RetryPolicy(), HedgePolicy(), PriceBook(), load_prompts(), 3600),
            spending=Spending(()), cache=AnswerCache(1_000_000), journal=self.record,
            ground=Ground(self.clock, SystemDice(1), "w", self.log),
        )  # fmt: skip

    async def one(self, **intent: Any) -> Outcome:
        return await self.executor.execute(a_task(intent=an_intent(**intent)), Free())

    async def answered(self, times: int = 1) -> Completed:
        for _ in range(times):
            outcome = await self.one()
            assert isinstance(outcome, Completed), outcome
        return outcome

    def events(self, name: str) -> list[dict[str, Any]]:
        return [one for one in self.logged if one["event"] == name]

    @property
    def health(self) -> BreakerState:
        return self.capacity.state("v")


def two_keys(folder: Path, **answers: bytes | list[bytes]) -> Desk:
    environment = {"KEY_A": "key-a", "KEY_B": "key-b"}
    vendor = KeyedVendor({f"key-{name}": answer for name, answer in answers.items()})
    return Desk(folder, 'key_variables = ["KEY_A", "KEY_B"]', vendor, environment)


def test_several_keys_take_turns(tmp_path: Path) -> None:
    desk = two_keys(tmp_path, a=chat(), b=chat())
    desk.run(lambda desk: desk.answered(4))
    assert desk.vendor.seen == ["key-a", "key-b", "key-a", "key-b"]


@pytest.mark.parametrize("refusal", [BAD_KEY, NO_MONEY, throttled(60)])
def test_a_refused_key_costs_one_call_and_is_not_the_providers_failure(
    tmp_path: Path, refusal: bytes
) -> None:
    desk = two_keys(tmp_path, a=refusal, b=chat())

    async def steps(desk: Desk) -> None:
        outcome = await desk.answered()
        assert outcome.result.metadata.attempt == 2
        assert desk.clock.slept in ([], [0.0])
        await desk.answered(5)
        assert desk.health is BreakerState.CLOSED

    desk.run(steps)
    assert desk.vendor.seen == ["key-a", *["key-b"] * 6]
    calls = [one for one in desk.record.written if one.status == "finished"]
    assert [one.attempt for one in calls] == [1], "the refused call is on record"
    (error,) = desk.events("openai-compatible_execution_error") or desk.events(
        "openai_execution_error"
    )
    assert error["key"] == "KEY_A"


def test_a_refused_key_is_named_once_with_what_is_left(tmp_path: Path) -> None:
    desk = two_keys(tmp_path, b=chat())
    desk.run(lambda desk: desk.answered(3))
    (event,) = desk.events("key_refused")
    assert (event["provider"], event["key"], event["usable"], event["keys"]) == ("v", "KEY_A", 1, 2)


def test_a_key_that_is_good_again_is_found_by_one_call(tmp_path: Path) -> None:
    desk = two_keys(tmp_path, b=chat())

    async def steps(desk: Desk) -> None:
        await desk.answered(2)
        desk.clock.advance(31)
        desk.vendor.answers["key-a"] = chat()
        desk.vendor.seen.clear()
        await desk.answered(4)

    desk.run(steps)
    assert sorted(desk.vendor.seen) == ["key-a", "key-a", "key-b", "key-b"]


def test_an_intent_that_is_refused_itself_shows_that_its_key_is_taken(tmp_path: Path) -> None:
    desk = two_keys(tmp_path, b=chat())

    async def steps(desk: Desk) -> None:
        await desk.answered(2)
        desk.clock.advance(31)
        desk.vendor.answers["key-a"] = [said({"error": {"code": "invalid_value"}}, 400), chat()]
        desk.vendor.seen.clear()
        assert isinstance(await desk.one(), Failed)
        await desk.answered(2)

    desk.run(steps)
    assert sorted(desk.vendor.seen) == ["key-a", "key-a", "key-b"]


def test_the_provider_is_down_only_when_no_key_is_left(tmp_path: Path) -> None:
    desk = two_keys(tmp_path)

    async def steps(desk: Desk) -> None:
        assert isinstance(await desk.one(), Deferred)
        assert desk.health is BreakerState.DOWN

    desk.run(steps)
    assert desk.vendor.seen == ["key-a", "key-b"]


def test_all_keys_throttled_is_a_rate_limit_until_the_first_is_free(tmp_path: Path) -> None:
    desk = two_keys(tmp_path, a=[throttled(3), chat()], b=throttled(60))

    async def steps(desk: Desk) -> None:
        await desk.answered()
        assert desk.health is BreakerState.CLOSED

    desk.run(steps)
    assert desk.vendor.seen == ["key-a", "key-b", "key-a"]
    assert 3 <= max(desk.clock.slept) < 3.5


def test_keys_that_are_throttled_in_turn_are_not_asked_without_end(tmp_path: Path) -> None:
    desk = two_keys(tmp_path, a=throttled(0), b=throttled(0))

    async def steps(desk: Desk) -> None:
        assert isinstance(await desk.one(), Deferred)

    desk.run(steps)
    assert len(desk.vendor.seen) <= 2 + 4


def test_refusals_without_a_reason_are_the_keys_when_another_is_answered(tmp_path: Path) -> None:
    desk = two_keys(tmp_path, a=REASONLESS, b=chat())

    async def steps(desk: Desk) -> None:
        outcomes = [await desk.one() for _ in range(12)]
        assert sum(isinstance(one, Deferred) for one in outcomes) == 2
        assert desk.health is BreakerState.CLOSED

    desk.run(steps)
    assert desk.vendor.seen.count("key-a") == 3


# ── files ───────────────────────────────────────────────────────────────────────────────────


def a_key_file(folder: Path, text: str = "key-1\n") -> Path:
    file = folder / "key"
    file.write_text(text)
    return file


def replace(file: Path, text: str) -> None:
    """Put another file in its place, as the mounts of secrets do."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


@pytest.mark.parametrize("way", ["key_file", "variable", "built-in"])
def test_a_key_file_that_changes_is_used_at_once_after_a_refusal(tmp_path: Path, way: str) -> None:
    file = a_key_file(tmp_path)
    tables = {"key_file": f'key_file = "{file}"', "variable": 'key_variable = "MINE"'}
    environment = {"MINE_FILE": str(file), "OPENAI_API_KEY_FILE": str(file)}
    table = tables.get(way, 'key_variable = "OPENAI_API_KEY"')
    desk = Desk(tmp_path, table, KeyedVendor({"key-1": chat()}), environment)

    async def steps(desk: Desk) -> None:
        await desk.answered()
        desk.vendor.answers = {"key-2": chat()}
        replace(file, "key-2\n")
        outcome = await desk.answered()
        assert outcome.result.metadata.fallback is False
        assert desk.health is BreakerState.CLOSED
        await desk.answered()

    desk.run(steps)
    assert desk.vendor.seen == ["key-1", "key-1", "key-2", "key-2"]
    assert len(desk.events("key_renewed")) == 1


def test_a_key_file_that_changes_is_seen_before_the_old_key_is_refused(tmp_path: Path) -> None:
    file = a_key_file(tmp_path)
    vendor = KeyedVendor({"key-1": chat(), "key-2": chat()})
    desk = Desk(tmp_path, f'key_file = "{file}"', vendor)

    async def steps(desk: Desk) -> None:
        await desk.answered()
        replace(file, "key-2\n")
        desk.clock.advance(11)
        await desk.answered()

    desk.run(steps)
    assert desk.vendor.seen == ["key-1", "key-2"]


@pytest.mark.parametrize("gone", ["missing", "empty", "two lines", "no text"])
def test_a_key_file_that_is_no_more_leaves_the_last_good_key_and_warns_once(
    tmp_path: Path, gone: str
) -> None:
    file = a_key_file(tmp_path)
    desk = Desk(tmp_path, f'key_file = "{file}"', KeyedVendor({"key-1": chat()}))

    async def steps(desk: Desk) -> None:
        await desk.answered()
        match gone:
            case "missing":
                file.unlink()
            case "no text":
                file.write_bytes(b"\xff\xfe")
            case _:
                file.write_text("" if gone == "empty" else "a\nb\n")
        for _ in range(4):
            desk.clock.advance(11)
            await desk.answered()

    desk.run(steps)
    assert set(desk.vendor.seen) == {"key-1"}
    (warning,) = desk.events("key_unreadable")
    assert warning["kept"] is True
    assert str(file) in warning["reason"]


def test_a_new_key_that_is_refused_too_makes_no_calls_without_end(tmp_path: Path) -> None:
    file = a_key_file(tmp_path)
    desk = Desk(tmp_path, f'key_file = "{file}"', KeyedVendor({}))

    async def steps(desk: Desk) -> None:
        replace(file, "key-2\n")
        assert isinstance(await desk.one(), Deferred)
        assert desk.health is BreakerState.DOWN

    desk.run(steps)
    assert desk.vendor.seen == ["key-1", "key-2"]


def test_a_hundred_calls_that_meet_a_rotated_key_are_each_made_once_more(tmp_path: Path) -> None:
    file = a_key_file(tmp_path)
    desk = Desk(tmp_path, f'key_file = "{file}"', KeyedVendor({"key-2": chat()}))

    async def steps(desk: Desk) -> None:
        replace(file, "key-2\n")
        outcomes = await asyncio.gather(*(desk.one() for _ in range(100)))
        assert all(isinstance(one, Completed) for one in outcomes)
        assert desk.health is BreakerState.CLOSED

    desk.run(steps)
    assert desk.vendor.seen.count("key-1") <= 100
    assert desk.vendor.seen.count("key-2") == 100
    assert len(desk.events("key_refused")) <= 1


# ── commands ────────────────────────────────────────────────────────────────────────────────


def a_command(folder: Path, body: str) -> str:
    script = folder / "token.py"
    script.write_text(body)
    return json.dumps(f"{sys.executable} {script}")


COUNTING = """
import pathlib
file = pathlib.Path(__file__).with_name("count")
count = int(file.read_text()) + 1 if file.exists() else 1
file.write_text(str(count))
print(f"token-{count}")
"""


def test_a_command_is_asked_for_a_token_and_again_when_it_is_old_or_refused(tmp_path: Path) -> None:
    table = f'auth = "command"\ntoken_command = {a_command(tmp_path, COUNTING)}\ntoken_seconds = 60'
    desk = Desk(tmp_path, table, KeyedVendor({f"token-{n}": chat() for n in (1, 2, 4)}))

    async def steps(desk: Desk) -> None:
        await desk.answered(3)
        desk.clock.advance(121)
        await desk.answered(2)
        del desk.vendor.answers["token-2"]
        desk.clock.advance(121)
        await desk.answered()  # token-3 is refused, token-4 is not

    desk.run(steps)
    assert desk.vendor.seen == [*["token-1"] * 3, *["token-2"] * 2, "token-3", "token-4"]


@pytest.mark.parametrize(
    "body", ["", "print('two words')", "raise SystemExit(3)", "print('caf\\xe9')", None]
)
def test_without_a_token_no_call_is_made_and_the_intent_waits(
    tmp_path: Path, body: str | None
) -> None:
    command = '"no-such-command"' if body is None else a_command(tmp_path, body)
    table = f'auth = "command"\ntoken_command = {command}'
    desk = Desk(tmp_path, table, KeyedVendor({}))

    async def steps(desk: Desk) -> None:
        assert isinstance(await desk.one(), Deferred)
        assert desk.health is BreakerState.DOWN

    desk.run(steps)
    assert desk.vendor.seen == []
    (warning,) = desk.events("key_unreadable")
    assert "token_command" in warning["reason"]


# ── what is refused at start ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("table", "environment", "said"),
    [
        ('key_file = "nowhere"', {}, "provider v: key file nowhere cannot be read"),
        ('key_file = "hybrid.toml"', {}, "has several lines"),
        ('key_file = "words"', {}, "key file words holds no key"),
        ('key_files = ["a", "a"]', {}, "each of them once"),
        ('key_variables = ["A", "B"]', {"A": "k"}, "its key variable B is not set"),
        ('key_variables = ["sk-123"]', {}, "never the key itself"),
        ('key_variable = "A"', {"A": "k", "A_FILE": "f"}, "A and A_FILE are both set"),
        ('key_variable = "A"', {"A_FILE": "nowhere"}, "A_FILE = nowhere cannot be read"),
        ('key_variable = "A"\nauth = "command"\ntoken_command = "x"', {}, "takes no keys"),
        ('auth = "command"', {}, "token_command go together"),
        ('token_command = "x"', {}, "token_command go together"),
        ('auth = "entra"', {}, "is for kind azure"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_at_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    environment: dict[str, str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words").write_text("hunter2 words\n")
    desk = Desk(tmp_path, table, KeyedVendor({}), environment)
    with pytest.raises(UsageError, match=said) as caught:
        desk.run(lambda desk: desk.answered())
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


# ── what doctor says ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("good", "state", "words"),
    [
        ("ab", "ok", "2 of 2 keys are usable"),
        ("b", "warning", "1 of 2 keys are usable: see KEY_A"),
        ("", "broken", "refuses the key (401): see KEY_A or KEY_B"),
    ],
)
def test_doctor_tries_each_key_and_names_the_refused_ones(
    tmp_path: Path, good: str, state: str, words: str
) -> None:
    desk = two_keys(tmp_path, **dict.fromkeys(good, said({"id": "m", "object": "model"})))
    found: list[Check] = []

    async def steps(_: Desk) -> None:
        settings = load_settings(environment=desk.environment, file=tmp_path / "hybrid.toml")
        found.append(await examine_provider(settings, settings.providers[0]))

    desk.run(steps)
    assert (found[0].state, words in found[0].detail) == (state, True), found
    assert "key-" not in found[0].detail


def test_doctor_says_why_there_is_no_token(tmp_path: Path) -> None:
    command = a_command(tmp_path, "raise SystemExit(3)")
    desk = Desk(tmp_path, f'auth = "command"\ntoken_command = {command}', KeyedVendor({}))
    found: list[Check] = []

    async def steps(_: Desk) -> None:
        settings = load_settings(environment={}, file=tmp_path / "hybrid.toml")
        found.append(await examine_provider(settings, settings.providers[0]))

    desk.run(steps)
    assert found == [Check("v", "broken", "token_command ended with status 3")]


# ── nothing secret is shown ─────────────────────────────────────────────────────────────────


def test_no_key_is_in_a_log_a_record_or_what_objects_say_of_themselves(tmp_path: Path) -> None:
    file = a_key_file(tmp_path, "secret-file\n")
    table = f'key_variables = ["KEY_A", "KEY_B"]\nkey_file = "{file}"'
    environment = {"KEY_A": "secret-a", "KEY_B": "secret-b"}
    desk = Desk(tmp_path, table, KeyedVendor({"secret-b": throttled(1)}), environment)
    shown: list[str] = []

    async def steps(desk: Desk) -> None:
        outcome = await desk.one()
        replace(file, "secret-new\n")
        desk.clock.advance(60)
        shown.append(repr(await desk.one()))
        grant = await desk.provider.credentials.take()  # type: ignore[attr-defined]
        shown.extend(map(repr, (outcome, grant, vars(desk.provider), desk.record.written)))

    desk.run(steps)
    settings = load_settings(environment=environment, file=tmp_path / "hybrid.toml")
    shown += [repr(desk.logged), repr(settings), settings.model_dump_json()]
    assert len(desk.vendor.seen) > 3
    assert [text for text in shown if "secret-" in text] == []
    attempts: list[ProviderAttempt] = desk.record.written
    assert attempts
