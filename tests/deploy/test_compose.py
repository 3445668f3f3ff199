"""docker-compose.yml, run as it is shipped: the whole product on one host, and what befalls it.

Grafana is left out: it fetches a plugin at its first start. The tests go on from one to the next on
the same containers, as an installation does; each publishes intents of its own.
"""

import json
import os
import signal
import socket
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.deploy.compose import checkout, with_compose
from tests.deploy.engine import ROOT, Engine, EngineMissingError
from tests.deploy.project import KAFKA, LONG_S, Project, some_intents
from tests.deploy.standins import need_image
from tests.integration.driving import eventually

pytestmark = pytest.mark.timeout(2700)
#: All that the file has but Grafana.
PARTS = ("kafka", "clickhouse", "check", "setup", "worker", "recorder", "simulator")
#: As the head of docker-compose.yml says it.
SIMULATED = {"COMPOSE_PROFILES": "simulator", "HYBRID_SIMULATOR": "http://simulator:8089"}
PASSWORD = "letters-9._~"  # noqa: S105 - of containers that live for this test
INTENTS = 30
#: A provider that writes down the key it is called with, and refuses the call.
LISTENER = """
import http.server
class Refusing(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print("called with", self.headers["Authorization"], flush=True)
        self.send_error(400)
http.server.HTTPServer(("", 8090), Refusing).serve_forever()
"""


@pytest.fixture(scope="module")
def composing(
    engine: Engine,
    bases: None,  # noqa: ARG001 - `up --build` needs them
    tmp_path_factory: pytest.TempPathFactory,
) -> Engine:
    """An engine that knows `docker compose` and has all images that are not built."""
    host, _, port = KAFKA.partition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(port)))
        except OSError:
            message = f"docker-compose.yml publishes port {port} of {host}: stop what listens there"
            pytest.fail(message, pytrace=False)
    try:
        found = with_compose(engine, tmp_path_factory.mktemp("docker"))
        services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        for name in ("kafka", "clickhouse"):
            need_image(found, services[name]["image"])
    except EngineMissingError as error:
        pytest.fail(str(error), pytrace=False)
    return found


@contextmanager
def removed(project: Project) -> Iterator[Project]:
    """Give a project; whatever a test did to it, nothing of it stays."""
    try:
        yield project
    finally:
        project.remove()
        assert project.services() == []


@pytest.fixture
def unconfigured(composing: Engine, tmp_path: Path) -> Iterator[Project]:
    """The project in a fresh checkout, without `.env`."""
    with removed(Project(composing, checkout(tmp_path))) as project:
        yield project


@pytest.fixture(scope="module")
def product(composing: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """All of it, up, with simulated providers, by the commands at the head of the file."""
    project = Project(composing, checkout(tmp_path_factory.mktemp("product")))
    project.set_env(CLICKHOUSE_PASSWORD=PASSWORD, **SIMULATED)
    with removed(project):
        project.compose("up", "--build", "--detach", *PARTS)
        project.wait_until_healthy()
        yield project


def test_without_a_password_one_sentence_says_what_to_set(unconfigured: Project) -> None:
    for prepare in (lambda: None, unconfigured.set_env):  # no .env at all, and the example as it is
        prepare()
        done = unconfigured.compose("up", "--detach", check=False)
        assert done.returncode != 0
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        assert "set CLICKHOUSE_PASSWORD in .env; see .env.example" in lines[0]
    assert unconfigured.services() == []


def test_without_a_key_and_without_the_simulator_check_says_so_and_nothing_of_ours_starts(
    unconfigured: Project,
) -> None:
    unconfigured.set_env(CLICKHOUSE_PASSWORD=PASSWORD)
    parts = [part for part in PARTS if part != "simulator"]
    done = unconfigured.compose("up", "--build", "--detach", *parts, check=False)
    assert done.returncode != 0
    assert 'service "check" didn\'t complete successfully' in done.stderr
    said = unconfigured.logs("check").strip().splitlines()
    assert len(said) == 1, said
    assert "no provider is configured: set OPENAI_API_KEY" in said[0]
    running = {one.name for one in unconfigured.services() if one.status == "running"}
    assert running <= {"kafka", "clickhouse"}


def test_all_get_healthy_and_setup_ends_with_0(product: Project) -> None:
    ended = {one.name: (one.status, one.exit_code) for one in product.services()}
    assert ended["check"] == ended["setup"] == ("exited", 0)
    versions = product.inside("worker", "hybrid", "doctor", "--format", "json", check=False)
    assert [one for one in json.loads(versions) if one["state"] == "broken"] == []


def test_intents_from_the_host_get_results_and_are_billed(product: Project) -> None:
    intents, before = some_intents("host"), product.settled_bill()
    product.publish(intents)
    product.wait_for_results(intents)
    assert product.calls_of(intents) == Counter(one["intent_id"] for one in intents)
    product.wait_until_billed(before + INTENTS)


def test_down_and_up_lose_nothing_and_call_nothing_again(product: Project) -> None:
    intents = some_intents("kept")
    product.publish(intents)
    product.wait_for_results(intents)
    results = Counter(product.results())
    billed = product.settled_bill()
    assert billed >= INTENTS
    product.compose("down")
    assert product.services() == []
    product.compose("up", "--detach", *PARTS)
    product.wait_until_healthy()
    assert Counter(product.results()) == results
    assert product.billed_calls() == billed

    fresh = some_intents("after")
    product.publish([*intents, *fresh])
    product.wait_for_results(fresh)
    # The simulator is a new one as well: whatever it has seen was called after `up`.
    assert product.calls_of(intents) == Counter()
    assert product.calls_of(fresh) == Counter(one["intent_id"] for one in fresh)
    product.wait_for_results(intents)


def test_workers_that_are_added_take_work(product: Project) -> None:
    product.compose("up", "--detach", "--scale", "worker=3", *PARTS)
    product.wait_until_healthy(workers=3)
    before = [product.outcomes(one) for one in (1, 2, 3)]
    intents = some_intents("three", 4 * INTENTS)
    product.publish(intents)
    product.wait_for_results(intents)
    took = [product.outcomes(one) - before[one - 1] for one in (1, 2, 3)]
    assert all(one > 0 for one in took), took
    product.compose("up", "--detach", *PARTS)  # as many as the file says, again
    product.wait_until_healthy()


def test_readyz_is_503_while_kafka_is_frozen(product: Project) -> None:
    product.wait_until_worker_says("200", "/readyz")
    product.compose("pause", "kafka")
    try:
        product.wait_until_worker_says("503", "/readyz")
        assert product.get("http://localhost:9464/healthz")[0] == "200"
    finally:
        product.compose("unpause", "kafka")
    product.wait_until_worker_says("200", "/readyz")


def test_kafka_and_clickhouse_that_are_killed_come_back(product: Project) -> None:
    if product.engine.daemon is None:
        pytest.skip("the machine's own engine may run its containers elsewhere")
    intents = some_intents("killed")
    product.publish(intents)
    before = {one.name: one.pid for one in product.services()}
    for name in ("kafka", "clickhouse"):
        # As a crash does it; `docker kill` would be somebody's wish that it stay down.
        os.kill(before[name], signal.SIGKILL)
    eventually(
        product.services,
        lambda seen: all(
            one.pid not in {0, before[one.name]}
            for one in seen
            if one.name in {"kafka", "clickhouse"}
        ),
        within_s=LONG_S,
    )
    product.wait_until_healthy()
    product.wait_for_results(intents)
    assert product.calls_of(intents).keys() == {one["intent_id"] for one in intents}


def test_all_come_back_after_a_restart_of_the_engine(product: Project) -> None:
    daemon = product.engine.daemon
    if daemon is None:
        pytest.skip("the machine's own engine is not ours to restart")
    old = some_intents("old")
    product.publish(old)
    product.wait_for_results(old)
    daemon.stop()
    daemon.start()
    product.wait_until_healthy()
    ended = {one.name: (one.status, one.exit_code) for one in product.services()}
    assert ended["check"] == ended["setup"] == ("exited", 0)
    fresh = some_intents("new")
    product.publish([*old, *fresh])
    product.wait_for_results(fresh)
    product.wait_for_results(old)
    assert product.calls_of(old) == Counter()


def test_a_new_password_in_env_holds_for_all_and_the_bill_stays(product: Project) -> None:
    before = product.settled_bill()
    product.set_env(CLICKHOUSE_PASSWORD=f"new-{PASSWORD}", **SIMULATED)
    product.compose("up", "--detach", *PARTS)
    product.wait_until_healthy()
    assert product.billed_calls() == before
    intents = some_intents("password")
    product.publish(intents)
    product.wait_for_results(intents)
    product.wait_until_billed(before + INTENTS)


def test_secrets_and_a_configuration_in_files_are_read(product: Project) -> None:
    secret, file = f"sk-{uuid.uuid4().hex}", product.folder / "deploy/secrets/openai"
    product.set_env(
        CLICKHOUSE_PASSWORD=PASSWORD,
        OPENAI_API_KEY_FILE="/secrets/openai",
        HYBRID_CONFIG="/config/hybrid.toml",
    )
    configuration = product.folder / "deploy/config/hybrid.toml"
    configuration.write_text('openai_base_url = "http://listener:8090/v1"\n')
    file.write_text(f"{secret}\n")
    file.chmod(0o600)  # so the user of our containers cannot read it
    parts = [part for part in PARTS if part != "simulator"]
    refused = product.compose("up", "--detach", *parts, check=False)
    assert refused.returncode != 0
    said = product.logs("check").strip().splitlines()
    assert len(said) == 1, said
    assert "OPENAI_API_KEY_FILE = /secrets/openai cannot be read (permission denied)" in said[0]

    file.chmod(0o644)
    listener = product.engine.docker(
        "run", "--detach", "--network", f"{product.name}_default", "--network-alias", "listener",
        "hybrid-orchestrator:latest", "python", "-c", LISTENER,
    ).stdout.strip()  # fmt: skip
    try:
        product.compose("up", "--detach", *parts)
        product.publish(some_intents("secret", 1))
        eventually(
            lambda: product.engine.docker("logs", listener).stdout,
            lambda seen: f"called with Bearer {secret}" in seen,
            within_s=LONG_S,
        )
        inspected = product.engine.docker("inspect", product.containers("worker")[0].container)
        assert secret not in inspected.stdout
    finally:
        product.engine.docker("rm", "--force", listener)
