"""The chart, rendered as helm does, and looked at as what it makes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.chart_tools import KUBERNETES, need_schemas, need_tool, output_of
from tests.deploy.engine import ROOT

__all__ = ["CHART", "FULL", "LEAST", "Manifests", "conform", "lint", "render"]

CHART = ROOT / "deploy/helm/hybrid-orchestrator"
LEAST: dict[str, Any] = {
    "settings": {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"},
    "secrets": {"CLICKHOUSE_URL": {"secret": "clickhouse", "key": "url"}},
}
#: Everything that can be switched on is.
FULL: dict[str, Any] = {
    "settings": {
        "KAFKA_BOOTSTRAP_SERVERS": "a.example:9093, b.example:9094",
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": "hybrid",
        "HYBRID_DRAIN_BUDGET": "12.5",
        "HYBRID_PARTITIONS": 24,
        "HYBRID_MAX_INTENT_BYTES": 2097152,
        "HYBRID_CACHE_BYTES": 134217728,
    },
    "secrets": {
        "CLICKHOUSE_URL": {"secret": "clickhouse", "key": "url"},
        "KAFKA_SASL_PASSWORD": {"secret": "kafka", "key": "password"},
        "OPENAI_API_KEY": {"secret": "keys", "key": "openai"},
        "AZURE_EU_KEY": {"secret": "keys", "key": "azure-eu"},
        "HYBRID_ALERT_WEBHOOK": {"secret": "alerts", "key": "url"},
        "HYBRID_ALERT_SECRET": {"secret": "alerts", "key": "secret"},
    },
    "kafkaTls": {"secret": "kafka-tls", "certificate": "tls.crt", "key": "tls.key"},
    "clickhouseCa": {"secret": "clickhouse-ca"},
    "config": '[[providers]]\nname = "azure-eu"\nkind = "azure"\n'
    'endpoint = "https://eu.openai.azure.com"\ndeployment = "chat"\nkey_variable = "AZURE_EU_KEY"\n',
    "prompts": {"greeting.txt": "Say hello to {data}.\n"},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/hybrid"}},
    "image": {"pullSecrets": ["registry"], "digest": f"sha256:{'a' * 64}"},
    "worker": {
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "podLabels": {"azure.workload.identity/use": "true"},
        "priorityClassName": "high",
    },
    "simulator": {"enabled": True},
    "autoscaling": {"kind": "keda", "prometheus": "http://prometheus:9090",
                    "authentication": "prometheus"},
    "monitoring": {"serviceMonitor": {"enabled": True, "labels": {"release": "p"}},
                   "rules": {"enabled": True}},
}  # fmt: skip


@dataclass(frozen=True)
class Manifests:
    """What a rendering made."""

    text: str

    @property
    def all(self) -> list[dict[str, Any]]:
        """Everything, in its order."""
        return [one for one in yaml.safe_load_all(self.text) if one]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Everything of one kind."""
        return [one for one in self.all if one["kind"] == kind]

    def one(self, kind: str, ending: str = "") -> dict[str, Any]:
        """Give the only one of a kind whose name ends so."""
        (found,) = [one for one in self.of_kind(kind) if one["metadata"]["name"].endswith(ending)]
        return found

    def pods(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the pods' specs, by what they run."""
        for one in self.all:
            if one["kind"] in {"StatefulSet", "Deployment", "Job"}:
                process = one["metadata"]["labels"]["app.kubernetes.io/component"]
                yield process, one["spec"]["template"]["spec"]

    def containers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give all containers, by the process whose pod they are in."""
        for process, pod in self.pods():
            for one in (*pod.get("initContainers", ()), *pod["containers"]):
                yield process, one


def lint(values: dict[str, Any], folder: Path) -> str:
    """Run `helm lint --strict`; gives what it said."""
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    return output_of(
        need_tool("helm"), "lint", "--strict", CHART, "--values", file,
        "--kube-version", KUBERNETES[-1],
    )  # fmt: skip


def render(
    values: dict[str, Any],
    folder: Path,
    *,
    version: str = KUBERNETES[-1],
    check: bool = True,
    release: str = "rel",
) -> Manifests:
    """Run `helm template`; without `check` its text may be the error."""
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    return Manifests(
        output_of(
            need_tool("helm"),
            "template",
            release,
            CHART,
            "--namespace",
            "work",
            "--values",
            file,
            "--kube-version",
            version,
            check=check,
        )
    )


def conform(text: str, *, version: str = KUBERNETES[-1]) -> None:
    """Hold manifests against the schemas of a Kubernetes version and of the CRDs."""
    schemas = need_schemas()
    said = output_of(
        need_tool("kubeconform"), "-strict", "-summary", "-output", "json",
        "-kubernetes-version", version,
        "-schema-location",
        f"{schemas}/{{{{.NormalizedKubernetesVersion}}}}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
        "-schema-location", f"{schemas}/crds/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json",
        text_in=text, check=False,
    )  # fmt: skip
    report = json.loads(said)
    assert report["summary"]["valid"] >= 1, said
    bad = {name: report["summary"][name] for name in ("invalid", "errors", "skipped")}
    assert set(bad.values()) == {0}, said
