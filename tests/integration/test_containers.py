"""The servers are containers where that is asked for: in them lies what the stack has written."""

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.chaos.running import RunningStack
from tests.deploy.engine import ROOT
from tests.integration.databases import address_of
from tests.integration.driving import Case, eventually

if TYPE_CHECKING:
    from tests.integration.containers import Servers

pytestmark = pytest.mark.integration
#: Starts a container as the tests do, says its id, and waits to be killed.
BEGIN = """
import sys, time
from tests.deploy.engine import Engine
from tests.deploy.janitor import Janitor
from tests.integration.containers import started
engine = Engine(sys.argv[2] or None)
janitor = Janitor(engine.host, None, keep=True)
with started(engine, sys.argv[1], ports={}, environment={}, command="sleep 600") as container:
    print(container.get_container_id(), flush=True)
    time.sleep(600)
"""


@pytest.fixture
def contained(servers: "Servers | None") -> "Servers":
    if servers is None:
        pytest.skip("`make test-containers`: the servers are embedded here")
    return servers


def test_the_stack_talks_to_ports_that_the_engine_publishes_on_loopback_only(
    contained: "Servers", stack: RunningStack
) -> None:
    kafka = contained.published(contained.kafka).splitlines()
    clickhouse = contained.published(contained.clickhouse).splitlines()
    assert [line.rpartition(" ")[2] for line in kafka] == [stack.settings.kafka_bootstrap_servers]
    assert [line.partition(" -> 127.0.0.1:")[2] for line in clickhouse] == [
        str(stack.stack.ports["clickhouse"])
    ]
    assert address_of(stack.settings).endswith(f"@127.0.0.1:{contained.clickhouse_port}/hybrid")
    assert {"kafka", "clickhouse"}.isdisjoint(stack.stack.addresses()["pids"])


def test_what_an_intent_leaves_lies_in_the_containers(
    contained: "Servers", stack: RunningStack
) -> None:
    """Its records in the broker's files, its calls and its outcome in the ClickHouse's tables."""
    case = Case(stack)
    intent = case.intent()
    case.publish(intent)
    case.result()
    data = "/var/lib/kafka/data"
    for topic in (stack.settings.topics.intents, stack.settings.topics.results):
        found = contained.inside(
            contained.kafka, "bash", "-c",
            f"grep -la {intent['intent_id']} {data}/{topic}-*/*.log || true",
        )  # fmt: skip
        assert len(found.split()) == 1, topic
    query = (
        f"SELECT count() FROM hybrid.workflow_outcomes WHERE intent_id = '{intent['intent_id']}'"
    )
    address = f"http://localhost:8123/?user=hybrid&password={contained.password}&query="
    question = address + query.replace(" ", "%20").replace("'", "%27").replace("=", "%3D")
    eventually(
        lambda: contained.inside(contained.clickhouse, "wget", "-qO-", question),
        lambda said: said.strip() == "1",
    )


def test_a_container_is_removed_by_its_id_when_the_tests_are_killed(contained: "Servers") -> None:
    engine = contained.engine
    image = contained.clickhouse.image
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN, image, engine.host or ""],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        container = process.stdout.readline().strip()
        assert engine.docker("inspect", "--format", "{{.State.Running}}", container).stdout == (
            "true\n"
        )
    finally:
        process.kill()
        process.wait(10)
    eventually(
        lambda: engine.docker("inspect", container, check=False).returncode,
        lambda status: status != 0,
    )
    assert engine.docker("inspect", contained.clickhouse.get_container_id()).returncode == 0
