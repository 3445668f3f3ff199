"""deploy/kustomize: what the chart makes, without helm."""

from pathlib import Path

import pytest

from tests.deploy.chart_tools import (
    KUBERNETES,
    ToolMissingError,
    need_schemas,
    need_tool,
    output_of,
)
from tests.deploy.charts import Manifests, conform
from tests.deploy.kustomized import FOLDER, bases

pytestmark = pytest.mark.timeout(1800)
#: As docs/kubernetes.md has it.
OVERLAY = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: hybrid
resources: [base, setup, prometheus]
images:
  - name: hybrid-orchestrator
    newName: registry.example/hybrid-orchestrator
    newTag: "0.1.0"
replicas:
  - {name: hybrid-worker, count: 4}
configMapGenerator:
  - name: hybrid-settings
    behavior: merge
    literals: ["KAFKA_BOOTSTRAP_SERVERS=broker-1:9092,broker-2:9092"]
"""


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    try:
        for name in ("helm", "kubeconform", "kustomize"):
            need_tool(name)
        need_schemas()
    except ToolMissingError as error:
        pytest.fail(str(error), pytrace=False)


def build(folder: Path) -> Manifests:
    return Manifests(output_of(need_tool("kustomize"), "build", folder))


def test_the_bases_are_what_the_chart_makes_today() -> None:
    stale = [path.parent.name for path, text in bases().items() if path.read_text() != text]
    assert stale == [], "run `make kustomize`"


@pytest.mark.parametrize("name", ["base", "setup", "prometheus"])
def test_each_base_is_taken_by_kubernetes(name: str) -> None:
    for version in KUBERNETES:
        conform(build(FOLDER / name).text, version=version)


def test_a_kustomization_of_ones_own_changes_image_brokers_and_number(tmp_path: Path) -> None:
    for name in ("base", "setup", "prometheus"):
        (tmp_path / name).symlink_to(FOLDER / name)
    (tmp_path / "kustomization.yaml").write_text(OVERLAY)
    made = build(tmp_path)
    conform(made.text)
    settings = made.one("ConfigMap")
    assert settings["data"]["KAFKA_BOOTSTRAP_SERVERS"] == "broker-1:9092,broker-2:9092"
    worker = made.one("StatefulSet")
    assert worker["spec"]["replicas"] == 4
    for process, container in made.containers():
        assert container["image"] == "registry.example/hybrid-orchestrator:0.1.0"
        names = [one["configMapRef"]["name"] for one in container["envFrom"]]
        assert names == [settings["metadata"]["name"]], process
        assert "KAFKA_BOOTSTRAP_SERVERS" not in {one["name"] for one in container["env"]}


def test_the_page_shows_the_kustomization_that_is_tried_here() -> None:
    page = (FOLDER.parents[1] / "docs/kubernetes.md").read_text()
    shown = "".join(f"    {line}".rstrip() + "\n" for line in OVERLAY.strip().splitlines())
    assert shown in page
