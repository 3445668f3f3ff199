"""What the doctor makes of providers: asked by HTTP, as a worker would go there, at no cost."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from hybrid.provider_checks import Check, examine_provider
from hybrid.stack import simulator
from hybrid.stack.process import free_port
from schemas.settings import Settings

TODAY = datetime.now(UTC).date()
SOON, FAR = TODAY + timedelta(days=20), TODAY + timedelta(days=400)


class Bench:
    """A simulator with all that a provider may say of its models."""

    def __init__(self) -> None:
        self.simulator = simulator.Simulator()
        self.shelf = self.simulator.shelf

    def checks(self, **changes: Any) -> dict[str, Check]:
        async def look() -> dict[str, Check]:
            port = free_port()
            runner = await simulator.serve(self.simulator, port=port)
            url = f"http://127.0.0.1:{port}"
            values = {
                "openai_api_key": "k", "openai_base_url": f"{url}/v1",
                "azure_openai_api_key": "k", "azure_openai_endpoint": url,
            }  # fmt: skip
            settings = Settings.model_validate({**values, **changes})
            try:
                found = await asyncio.gather(
                    *(examine_provider(settings, one) for one in settings.provider_specs)
                )
            finally:
                await runner.cleanup()
            assert not self.simulator.calls, "nothing that is asked is paid for"
            return {one.name: one for one in found}

        return asyncio.run(look())

    def one(self, name: str, **changes: Any) -> tuple[str, str]:
        check = self.checks(**changes)[name]
        host, _, said = check.detail.partition(" ")
        assert host.startswith("127.0.0.1:")
        return check.state, said


def server(**changes: Any) -> dict[str, Any]:
    """Settings of a server of one's own at a port that is put in later."""
    spec = {"name": "own", "kind": "openai-compatible", "model": "llama", **changes}
    return {"providers": [spec]}


def test_a_model_that_is_there_is_said_to_be() -> None:
    assert Bench().one("openai") == ("ok", "answers; gpt-6-luna is there")
    state, said = Bench().one("azure")
    assert state == "ok"
    assert said == (
        "answers; the key is taken, no free call says whether deployment gpt-6-luna is there"
    )


def test_a_model_that_is_not_there_is_broken_and_it_says_what_to_do() -> None:
    bench = Bench()
    bench.shelf.missing = {"gpt-old"}
    state, said = bench.one("openai", hybrid_openai_model="gpt-old")
    assert state == "broken"
    assert said == (
        "answers; model gpt-old is not there: name another in HYBRID_OPENAI_MODEL, or have the "
        "key's project allowed to use it"
    )


def test_all_models_of_the_groups_are_asked_for() -> None:
    bench = Bench()
    bench.shelf.missing = {"gpt-none"}
    groups = [
        {"name": "chat", "at": {"openai": "gpt-one", "azure": "d"}},
        {"name": "more", "at": {"openai": "gpt-none"}},
    ]
    state, said = bench.one("openai", models=groups)
    assert state == "broken"
    assert "gpt-6-luna is there; gpt-one is there; model gpt-none is not there" in said
    assert "name another in [[models]]" in said


def test_a_model_for_embeddings_is_asked_for_where_somebody_named_it() -> None:
    bench = Bench()
    bench.shelf.missing = {"text-embedding-3-small"}
    assert bench.one("openai")[0] == "ok", "the default is nobody's choice"
    state, said = bench.one("openai", hybrid_openai_embedding_model="text-embedding-3-small")
    assert state == "broken"
    assert "model text-embedding-3-small is not there: name another for embeddings" in said


@pytest.mark.parametrize("status", ["401", "403"])
def test_a_key_that_is_refused_is_broken_and_named_by_its_variable(status: str) -> None:
    bench = Bench()
    for faults in bench.simulator.faults.values():
        faults.always = status
    assert bench.one("openai") == ("broken", f"refuses the key ({status}): see OPENAI_API_KEY")
    assert bench.one("azure") == ("broken", f"refuses the key ({status}): see AZURE_OPENAI_API_KEY")


def test_a_provider_in_trouble_says_nothing_of_its_models() -> None:
    bench = Bench()
    for faults in bench.simulator.faults.values():
        faults.always = "503"
    wanted = ("warning", "answers; whether gpt-6-luna is there it does not say (503)")
    assert (bench.one("openai"), bench.one("azure")) == (wanted, wanted)


def test_an_azure_address_that_is_none_is_broken() -> None:
    bench = Bench()
    bench.shelf.listless = True
    state, said = bench.one("azure")
    assert (state, "is that the address of an Azure resource?" in said) == ("broken", True)


@pytest.mark.parametrize(
    ("provider", "told", "state", "words"),
    [
        ("openai", {"shutdown_date": FAR.isoformat()}, "ok", f", and ends on {FAR}"),
        ("openai", {"shutdown_date": SOON.isoformat()}, "warning", f", and ends on {SOON}"),
        ("openai", {"shutdown_date": "2026-01-31"}, "warning", ", and was to end on 2026-01-31"),
        ("openai", {"shutdown_date": None}, "ok", "is there"),
        ("openai", {"shutdown_date": "soon", "deprecation": [1]}, "ok", "is there"),
        ("azure", {"deprecation": {"inference": 1_900_000_000}}, "ok", "and ends on 2030-03-17"),
        ("azure", {"deprecation": {"inference": 10**30}}, "ok", "gpt-6-luna is there"),
        ("azure", {"lifecycle_status": "deprecated"}, "warning", "is there (deprecated)"),
        ("azure", {"lifecycle_status": "generally-available"}, "ok", "gpt-6-luna is there"),
    ],
)
def test_the_end_of_a_model_is_said_as_it_is_told_and_not_otherwise(
    provider: str, told: dict[str, Any], state: str, words: str
) -> None:
    bench = Bench()
    bench.shelf.told["gpt-6-luna"] = told
    found, said = bench.one(provider)
    assert found == state
    assert said.endswith(words)


def test_at_azure_the_deployments_base_model_is_looked_for_in_the_list() -> None:
    bench = Bench()
    day = {"deprecation": {"inference": 1_900_000_000}}
    bench.shelf.told = {"gpt-x-2026-01-01": day, "gpt-x-mini-2026-01-01": {}}
    options = {"hybrid_azure_deployment": "mine", "hybrid_azure_base_model": "gpt-x"}
    assert bench.one("azure", **options)[1].endswith(
        "deployment mine is there, and ends on 2030-03-17"
    )
    bench.shelf.told["gpt-x-2026-06-01"] = {}
    assert bench.one("azure", **options)[1].endswith("deployment mine is there"), (
        "which, is not told"
    )


def test_a_server_with_a_list_only_is_asked_for_that() -> None:
    bench = Bench()
    bench.shelf.entryless = True
    assert bench.one("openai") == ("ok", "answers; gpt-6-luna is there")
    assert bench.one("openai", hybrid_openai_model="gpt-old")[0] == "broken"
    bench.shelf.listless = True
    assert bench.one("openai") == ("ok", "answers; it has no list of models to see gpt-6-luna in")


async def _odd(answer: Callable[[web.Request], Any], **settings: Any) -> Check:
    port, app = free_port(), web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    own = Settings.model_validate(server(base_url=f"http://127.0.0.1:{port}/v1", **settings))
    try:
        return await examine_provider(own, own.provider_specs[0])
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("body", "state", "words"),
    [
        (b"<html>sign in</html>", "warning", "whether llama is there it does not say (200)"),
        (b'{"data": [7, null, {"id": ["llama"]}]}', "ok", "llama is there"),
        (b"[" * 5_000, "warning", "whether llama is there it does not say (200)"),
        (b'{"id": "llama", "shutdown_date": 1e999}', "ok", "llama is there"),
        (b"", "warning", "whether llama is there it does not say (200)"),
    ],
)
def test_odd_answers_end_no_doctor(body: bytes, state: str, words: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    found = asyncio.run(_odd(answer))
    assert (found.state, found.detail.endswith(words)) == (state, True), found


def test_clocks_that_differ_are_said() -> None:
    async def answer(_request: web.Request) -> web.Response:
        headers = {"Date": "Sat, 31 Jan 2026 09:30:00 GMT"}
        return web.json_response({"id": "llama"}, headers=headers)

    found = asyncio.run(_odd(answer))
    assert (found.state, "the clocks differ by" in found.detail) == ("warning", True)


def test_a_server_that_wants_a_key_and_has_none_is_broken() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({}, status=401)

    found = asyncio.run(_odd(answer))
    assert (found.state, "wants a key (401)" in found.detail) == ("broken", True)


def test_what_hangs_or_is_not_there_is_broken_within_seconds(monkeypatch: Any) -> None:
    monkeypatch.setattr("hybrid.provider_checks.LIMIT_S", 0.3)
    gone = asyncio.Event()

    async def answer(_request: web.Request) -> web.Response:
        await gone.wait()
        return web.Response()

    since = time.monotonic()
    found = asyncio.run(_odd(answer))
    assert time.monotonic() - since < 30
    assert (found.state, "does not answer (TimeoutError)" in found.detail) == ("broken", True)
    nobody = Settings.model_validate(server(base_url=f"http://127.0.0.1:{free_port()}/v1"))
    found = asyncio.run(examine_provider(nobody, nobody.provider_specs[0]))
    assert (found.state, "does not answer" in found.detail) == ("broken", True)


def test_what_a_worker_would_refuse_at_its_start_is_said() -> None:
    wrong = Settings.model_validate({"openai_api_key": "k\n"})
    found = asyncio.run(examine_provider(wrong, wrong.provider_specs[0]))
    assert (found.state, "OPENAI_API_KEY" in found.detail) == ("broken", True)
    none = Settings()
    assert asyncio.run(examine_provider(none, none.provider_specs[0])).detail == "not configured"
