"""The chart: accepted by helm and three versions of Kubernetes, and says what the product needs."""

import copy
import json
import math
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from hybrid.config import load_settings
from hybrid.runtime import check_worker
from hybrid.secret_files import SECRETS
from streams.worker.worker import STOP_GRACE_S
from tests.deploy.chart_tools import (
    KUBERNETES,
    ToolMissingError,
    need_schemas,
    need_tool,
    output_of,
)
from tests.deploy.charts import CHART, FULL, LEAST, Manifests, conform, lint, render
from tests.deploy.engine import METRICS_CODE, ROOT

pytestmark = pytest.mark.timeout(1800)
VARIABLE = re.compile(r"^(HYBRID|KAFKA|CLICKHOUSE|OPENAI|AZURE)_[A-Z0-9_]+$")


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    """What is needed; without it the tests fail, by the sentence that says what to do."""
    try:
        for name in ("helm", "kubeconform", "promtool"):
            need_tool(name)
        need_schemas()
    except ToolMissingError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def full(tmp_path: Path) -> Manifests:
    return render(FULL, tmp_path)


def changed(values: dict[str, Any], **groups: dict[str, Any]) -> dict[str, Any]:
    """Give values with some of some groups changed."""
    found = copy.deepcopy(values)
    for name, group in groups.items():
        found[name] = {**found.get(name, {}), **group}
    return found


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", [LEAST, FULL], ids=["least", "full"])
def test_kubernetes_takes_what_the_chart_makes(
    values: dict[str, Any], version: str, tmp_path: Path
) -> None:
    assert "0 chart(s) failed" in lint(values, tmp_path)
    conform(render(values, tmp_path, version=version).text, version=version)


def test_the_hpa_is_taken_too_and_a_field_that_does_not_exist_is_not(tmp_path: Path) -> None:
    text = render(changed(LEAST, autoscaling={"kind": "hpa"}), tmp_path).text
    conform(text)
    assert "kind: HorizontalPodAutoscaler" in text
    with pytest.raises(AssertionError, match="maxReplica"):
        conform(text.replace("maxReplicas:", "maxReplica:"))


def test_a_worker_is_called_as_its_pod_and_nobody_else_has_a_name(full: Manifests) -> None:
    for process, container in full.containers():
        named = [one for one in container.get("env", ()) if one["name"] == "HYBRID_INSTANCE_ID"]
        by_pod = {"fieldRef": {"fieldPath": "metadata.name"}}
        assert [one["valueFrom"] for one in named] == ([by_pod] if process == "worker" else [])
    stateful = full.one("StatefulSet")
    assert stateful["spec"]["serviceName"] == full.one("Service", "-worker")["metadata"]["name"]


@pytest.mark.parametrize(("budget", "margin"), [(10, 30), ("12.5", 30), (120, 45), (0.5, 20)])
def test_the_grace_period_is_the_drain_budget_and_the_margin(
    budget: object, margin: int, tmp_path: Path
) -> None:
    values = changed(
        LEAST,
        settings={"HYBRID_DRAIN_BUDGET": budget},
        worker={"terminationMarginSeconds": margin},
    )
    (pod,) = [pod for process, pod in render(values, tmp_path).pods() if process == "worker"]
    said = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    assert float(said["HYBRID_DRAIN_BUDGET"]) == float(str(budget))
    assert pod["terminationGracePeriodSeconds"] == math.ceil(float(str(budget))) + margin
    assert margin > STOP_GRACE_S


def test_every_variable_that_the_chart_sets_is_documented(full: Manifests) -> None:
    known = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", (ROOT / "docs/configuration.md").read_text()))
    known |= {f"{name.upper()}_FILE" for name in SECRETS} | {"AZURE_EU_KEY_FILE"}
    named = {one["name"] for _, box in full.containers() for one in box.get("env", ())}
    assert len(named) >= 20
    assert {name for name in named if VARIABLE.match(name)} == named
    assert named - known == set()
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]["settings"]["properties"]) - known == set()


def test_what_each_process_is_told_is_a_configuration_that_it_accepts(
    full: Manifests, tmp_path: Path
) -> None:
    config = full.one("ConfigMap", "orchestrator")["data"]["hybrid.toml"]
    authority = trustme.CA()
    trusted = authority.cert_pem.bytes().decode()
    shown = authority.issue_cert("hybrid")
    for name, text in {
        "config/hybrid.toml": config,
        "secrets/CLICKHOUSE_URL": "https://u:p@clickhouse:8443/hybrid",
        "secrets/KAFKA_SASL_PASSWORD": "password",
        "secrets/OPENAI_API_KEY": "sk-openai",
        "secrets/AZURE_EU_KEY": "azure",
        "secrets/HYBRID_ALERT_WEBHOOK": "https://alerts.example/hook",
        "secrets/HYBRID_ALERT_SECRET": "whsec_c2VjcmV0c2VjcmV0c2VjcmV0",
        "kafka-tls/ca.crt": trusted,
        "kafka-tls/tls.crt": shown.cert_chain_pems[0].bytes().decode(),
        "kafka-tls/tls.key": shown.private_key_pem.bytes().decode(),
        "clickhouse-ca/ca.crt": trusted,
        **{f"prompts/{n}": t for n, t in full.one("ConfigMap", "-prompts")["data"].items()},
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for process, container in full.containers():
        if process == "simulator":
            continue
        told = {one["name"]: one.get("value", "rel-worker-0") for one in container["env"]}
        mounted = [one["mountPath"] for one in container["volumeMounts"]]
        for name, value in told.items():
            if value.startswith("/"):
                assert value.startswith(tuple(mounted)), f"{process}: {name}"
                told[name] = f"{tmp_path}{value}"
        settings = load_settings(environment=told)
        assert settings.kafka_bootstrap_servers == "a.example:9093,b.example:9094"
        assert settings.hybrid_max_intent_bytes == 2_097_152
        assert settings.hybrid_metrics_port == 9464
        if process == "worker":
            check_worker(settings)


def test_each_process_has_the_secrets_it_needs_and_no_other(full: Manifests) -> None:
    found = {
        process: {one["name"] for one in box.get("env", ()) if one["name"].endswith("_FILE")}
        for process, box in full.containers()
    }
    store = {"CLICKHOUSE_URL_FILE", "CLICKHOUSE_CA_FILE"}
    kafka = {"KAFKA_SASL_PASSWORD_FILE"}
    alerts = {"HYBRID_ALERT_WEBHOOK_FILE", "HYBRID_ALERT_SECRET_FILE"}
    assert found == {
        "worker": kafka | {"OPENAI_API_KEY_FILE", "AZURE_EU_KEY_FILE"},
        "recorder": kafka | store | alerts,
        "setup": kafka | store,
        "simulator": set(),
    }
    for process, pod in full.pods():
        for volume in pod.get("volumes", ()):
            if volume["name"] == "secrets":
                files = [s["secret"]["items"][0]["path"] for s in volume["projected"]["sources"]]
                assert {f"{name}_FILE" for name in files} | store == found[process] | store
                assert volume["projected"]["defaultMode"] == 0o440


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (changed(LEAST, settings={"OPENAI_API_KEY": "sk-1"}), "OPENAI_API_KEY"),
        (changed(LEAST, settings={"CLICKHOUSE_URL": "http://u:p@c/h"}), "CLICKHOUSE_URL"),
        ({**LEAST, "config": 'hybrid_topic_prefix = "a"\nopenai_api_key = "sk-1"\n'}, "config"),
        (changed(LEAST, secrets={"OPENAI_API_KEY": "sk-1"}), "OPENAI_API_KEY"),
        (changed(LEAST, worker={"terminationMarginSeconds": 5}), "terminationMarginSeconds"),
        (changed(LEAST, settings={"HYBRID_DRAIN_BUDGET": "long"}), "HYBRID_DRAIN_BUDGET"),
        (changed(LEAST, settings={"KAFKA_BOOTSTRAP_SERVERS": ""}), "name the brokers"),
        ({"settings": LEAST["settings"]}, "secrets.CLICKHOUSE_URL is not set"),
        (changed(LEAST, worker={"replica": 3}), "replica"),
        (changed(LEAST, autoscaling={"kind": "keda"}), "autoscaling.prometheus is not set"),
        (changed(LEAST, autoscaling={"kind": "hpa", "maxReplicas": 13}), "take 12 at most"),
        (changed(FULL, autoscaling={"maxReplicas": 25}), "take 24 at most"),
        (changed(LEAST, autoscaling={"kind": "hpa", "minReplicas": 0}), "minReplicas"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)  # fmt: skip
def test_what_would_not_work_or_shows_a_secret_is_refused(
    values: dict[str, Any], said: str, tmp_path: Path
) -> None:
    error = render(values, tmp_path, check=False).text
    assert "Error:" in error
    assert said in error


def test_nobody_is_root_nor_may_write_or_talk_to_the_cluster(full: Manifests) -> None:
    user = re.search(r"(?m)^USER (\d+):(\d+)$", (ROOT / "deploy/Dockerfile").read_text())
    assert user is not None
    for _, pod in full.pods():
        security = pod["securityContext"]
        assert (security["runAsUser"], security["runAsGroup"]) == tuple(map(int, user.groups()))
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
    for _, container in full.containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} == set(container["resources"])


def test_health_is_asked_where_it_is_served(full: Manifests) -> None:
    for process, container in full.containers():
        if process in {"worker", "recorder"}:
            assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
            assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
            told = {one["name"]: one.get("value") for one in container["env"]}
            assert container["ports"][0]["containerPort"] == int(told["HYBRID_METRICS_PORT"])
    served = (ROOT / "hybrid/metrics.py").read_text()
    assert '"/healthz"' in served
    assert '"/readyz"' in served


def test_topics_and_tables_are_there_before_anything_that_wants_them(full: Manifests) -> None:
    hooks = {
        (one["kind"], one["metadata"]["name"]): one["metadata"]["annotations"]
        for one in full.all
        if "helm.sh/hook" in one["metadata"].get("annotations", {})
    }
    assert {kind for kind, _ in hooks} == {"Job", "ConfigMap", "ServiceAccount"}
    for one in hooks.values():
        assert one["helm.sh/hook"] == "pre-install,pre-upgrade"
    job = full.one("Job")
    pod = job["spec"]["template"]["spec"]
    assert pod["initContainers"][0]["command"] == ["hybrid", "topics", "ensure"]
    assert pod["containers"][0]["command"] == ["hybrid", "migrate"]
    # What it stands on is a hook itself, and comes before it.
    for kind, name in (
        ("ServiceAccount", pod["serviceAccountName"]),
        (
            "ConfigMap",
            next(v for v in pod["volumes"] if v["name"] == "config")["configMap"]["name"],
        ),
    ):
        assert int(hooks[kind, name]["helm.sh/hook-weight"]) < 0


def test_scaling_goes_by_age_and_by_what_waits_and_never_beyond_the_partitions(
    full: Manifests,
) -> None:
    spec = full.one("ScaledObject")["spec"]
    assert spec["maxReplicaCount"] == FULL["settings"]["HYBRID_PARTITIONS"]
    assert spec["minReplicaCount"] >= 1
    assert [one["type"] for one in spec["triggers"]] == ["prometheus", "prometheus"]
    queries = " ".join(one["metadata"]["query"] for one in spec["triggers"])
    metrics = set(re.findall(r"hybrid_\w+", queries))
    assert metrics >= {"hybrid_oldest_waiting_seconds", "hybrid_waiting"}
    assert metrics <= set(re.findall(r'"(hybrid_\w+)"', METRICS_CODE))
    assert 'job="rel-hybrid-orchestrator-worker"' in queries
    stateful = full.one("StatefulSet")
    assert spec["scaleTargetRef"]["name"] == stateful["metadata"]["name"]
    assert "replicas" not in stateful["spec"], "an upgrade would undo what was scaled"


def test_what_scaling_reads_is_nothing_while_work_is_young_or_no_provider_can_be_called(
    full: Manifests, tmp_path: Path
) -> None:
    """By Prometheus' own tool: two workers, one of which cannot call its provider at times."""
    triggers = {one["name"]: one for one in full.one("ScaledObject")["spec"]["triggers"]}
    job = 'namespace="work",job="rel-hybrid-orchestrator-worker"'
    series = {
        f'hybrid_oldest_waiting_seconds{{{job},pod="0"}}': "0 0 45 45",
        f'hybrid_oldest_waiting_seconds{{{job},pod="1"}}': "0.5 3 3 3",
        f'hybrid_waiting{{{job},pod="0"}}': "300 300 300 300",
        f'hybrid_waiting{{{job},pod="1"}}': "100 100 100 100",
        f'hybrid_provider_available{{{job},pod="0",provider="openai"}}': "1 1 0 0",
        f'hybrid_provider_available{{{job},pod="1",provider="openai"}}': "1 1 1 0",
        'hybrid_waiting{namespace="other",job="other"}': "9999 9999 9999 9999",
    }
    wanted = {"oldest": (0.5, 3, 45, 0), "waiting": (0, 400, 400, 0)}
    expressions = [
        {
            "expr": triggers[name]["metadata"]["query"],
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": "{}", "value": value}],
        }
        for name, values in wanted.items()
        for minute, value in enumerate(values)
    ]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": expressions}
    (tmp_path / "test.json").write_text(json.dumps({"tests": [test]}))
    assert "SUCCESS" in output_of(need_tool("promtool"), "test", "rules", tmp_path / "test.json")
    kinds = {name: one["metricType"] for name, one in triggers.items()}
    assert kinds == {"oldest": "Value", "waiting": "AverageValue"}
    assert triggers["waiting"]["metadata"]["threshold"] == "256"


def test_workers_reach_brokers_and_providers_but_not_clickhouse(full: Manifests) -> None:
    ports = {
        one["metadata"]["name"].rpartition("-")[2]: {
            port["port"] for rule in one["spec"].get("egress", ()) for port in rule["ports"]
        }
        for one in full.of_kind("NetworkPolicy")
    }
    assert ports["worker"] == {53, 9093, 9094, 443, 8089}
    assert ports["recorder"] == {53, 9093, 9094, 443, 8123, 8443}
    assert ports["simulator"] == set()


def test_every_selector_finds_its_pods(full: Manifests) -> None:
    labels = [
        one["spec"]["template"]["metadata"]["labels"]
        for one in full.all
        if one["kind"] in {"StatefulSet", "Deployment", "Job"}
    ]
    for one in full.all:
        spec = one.get("spec", {})
        found = spec.get("selector") or spec.get("podSelector")
        if one["kind"] in {"Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor"}:
            wanted = found.get("matchLabels", found)
            assert any(wanted.items() <= each.items() for each in labels), one["metadata"]["name"]


def test_the_charts_rules_are_those_of_the_file_for_prometheus(full: Manifests) -> None:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yaml").read_text())
    assert full.one("PrometheusRule")["spec"] == rules


def test_the_chart_has_the_products_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]


def test_helm_takes_the_package_that_a_release_makes(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    from release import package_chart

    package_chart(ROOT, tmp_path, "0.1.0", 1_800_000_000)
    file = tmp_path / "hybrid-orchestrator-0.1.0.tgz"
    assert "version: 0.1.0" in output_of(need_tool("helm"), "show", "chart", file)
    (tmp_path / "values.json").write_text(json.dumps(LEAST))
    text = output_of(
        need_tool("helm"), "template", "rel", file, "--values", tmp_path / "values.json",
        "--namespace", "work", "--kube-version", KUBERNETES[-1],
    )  # fmt: skip
    assert Manifests(text).all == render(LEAST, tmp_path).all
