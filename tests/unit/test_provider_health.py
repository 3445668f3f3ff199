"""The page of the providers: how breakers moved, drawn, and what would happen to a new intent."""

from datetime import timedelta
from typing import Any

from hybrid.console.foreseeing import Question, asked
from hybrid.console.swimlanes import WIDTH, lanes_of
from hybrid.standing import Provider, Standing, Worker, worker_of
from schemas.operations import HoldRecord
from schemas.settings import Settings
from schemas.vocabulary import Held
from streams.bill.health import Change, Stretch, stretches
from tests.builders import NOW

MINUTE = timedelta(minutes=1)
END = NOW + 60 * MINUTE


def moved(minute: int, after: str, *, before: str = "closed", worker: str = "w-1") -> Change:
    cause = "server_error" if after == "open" else ""
    return Change(NOW + minute * MINUTE, worker, "openai", before, after, cause)


def test_a_breaker_stood_as_its_changes_say_through_the_whole_time() -> None:
    changes = [
        moved(10, "open"),
        moved(12, "half_open", before="open"),
        moved(13, "closed", before="half_open"),
        moved(50, "half_open", before="open", worker="w-2"),
    ]
    found = stretches(changes, since=NOW, until=END)["openai"]
    at = [NOW + minute * MINUTE for minute in (0, 10, 12, 13, 60)]
    assert [one for one in found if one.worker == "w-1"] == [
        Stretch("w-1", "closed", at[0], at[1], ""),
        Stretch("w-1", "open", at[1], at[2], "server_error"),
        Stretch("w-1", "half_open", at[2], at[3], "server_error"),
        Stretch("w-1", "closed", at[3], at[4], ""),
    ]
    assert [(one.state, one.begin) for one in found if one.worker == "w-2"] == [
        ("open", NOW), ("half_open", NOW + 50 * MINUTE),
    ]  # fmt: skip
    assert stretches([], since=NOW, until=END) == {}


def test_each_workers_view_is_a_lane_and_each_stretch_a_bar_with_its_reason() -> None:
    changes = [moved(30, "open"), moved(45, "open", worker="w-2")]
    lanes = lanes_of(stretches(changes, since=NOW, until=END), since=NOW, until=END)
    assert [(one.provider, one.worker, one.y) for one in lanes] == [
        ("openai", "w-1", 0), ("openai", "w-2", 22),
    ]  # fmt: skip
    first, second = lanes[0].bars
    assert (first.x, first.look, second.look) == (0, "good", "bad")
    assert second.x + second.width <= WIDTH
    assert second.words.startswith("open for 30 min")
    assert second.words.endswith(", for server_error")


def a_worker(*, openai_s: float, azure_s: float = 0.0) -> Worker:
    seen = (
        Provider("openai", openai_s == 0, 0, 0, "", openai_s, 1.0),
        Provider("azure", azure_s == 0, 0, 0, "", azure_s, 1.0),
    )
    return Worker("http://w", True, 0, 0, 1, seen)  # noqa: FBT003 - it is ready


def asks(*workers: Worker, paused: Any = (), **question: Any) -> tuple[list[str], Any]:
    settings = Settings(
        openai_api_key="k", azure_openai_api_key="k", azure_openai_endpoint="http://a"
    )
    standing = Standing(NOW, workers=workers, paused=tuple(paused))
    asked_for = Question(**{"type": "message_generation"} | question)
    return asked(settings, standing, asked_for, now_ms=0)


def test_workers_that_see_the_same_say_the_same_and_the_others_for_themselves() -> None:
    notes, said = asks(a_worker(openai_s=0), a_worker(openai_s=0), a_worker(openai_s=900))
    assert notes == []
    assert [(one.workers, one.sentence) for one in said] == [
        (2, "openai is called at once"),
        (1, "openai cannot be called, so it goes to azure, azure is called at once"),
    ]
    assert ("server error", "another call after 1 s") in said[0].after
    assert ("bad request", "a dead letter, rejected") in said[0].after
    (waits,) = asks(a_worker(openai_s=900, azure_s=900))[1]
    assert waits.sentence.startswith("openai cannot be called: it waits, at least ")
    assert waits.after == ()


def test_what_is_asked_before_any_provider_is_said_first() -> None:
    hold = HoldRecord(what=Held.TENANT, name="acme", held=True, at=NOW)
    notes, _ = asks(a_worker(openai_s=0), paused=[hold], tenant="acme", type="nonsense")
    assert notes == [
        "no template and no route is for type nonsense: it ends as a dead letter, invalid_intent",
        "it waits until it is resumed: tenant acme is paused",
    ]
    (none,) = asks(a_worker(openai_s=0), force_provider="nobody")[1]
    assert none.sentence == "no provider of it can serve this: it ends as a dead letter"


def test_a_workers_metrics_say_where_its_breaker_stands_and_when_the_next_call_may_be() -> None:
    text = """hybrid_provider_available{provider="openai"} 0.0
hybrid_provider_state{provider="openai",state="closed"} 0.0
hybrid_provider_state{provider="openai",state="open"} 1.0
hybrid_provider_pace{provider="openai"} 0.5
hybrid_provider_wait_seconds{provider="openai"} 12.5
hybrid_provider_available{provider="azure"} 1.0
"""
    openai, azure = worker_of("http://w", text).providers
    assert (openai.state, openai.wait_s, openai.pace) == ("open", 12.5, 0.5)
    assert (azure.state, azure.wait_s, azure.pace) == ("", None, None)
