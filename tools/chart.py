"""The chart's values: one list says them, `make generate` writes schema, defaults and README."""

import json
import sys
from pathlib import Path
from typing import Any

from hybrid.config import FOUND, TABLES
from hybrid.secret_files import SECRETS
from schemas.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parent))

from prose import wrapped

__all__ = ["CHART", "chart_files", "schema"]

CHART = "deploy/helm/hybrid-orchestrator"
#: What the chart itself says to the processes, or mounts.
OWN = (
    "hybrid_instance_id", "hybrid_metrics_port", "hybrid_simulator", "hybrid_prompts_dir",
    "kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile", "clickhouse_ca_file",
    "hybrid_fail_point",
)  # fmt: skip
#: Settings that the chart computes with, so that it has to say them.
SHOWN = ("hybrid_drain_budget", "hybrid_partitions", "hybrid_concurrency")
#: Measured, see docs/kubernetes.md.
WORKER_RESOURCES = {
    "requests": {"cpu": "500m", "memory": "512Mi"},
    "limits": {"memory": "1Gi"},
}
RECORDER_RESOURCES = {
    "requests": {"cpu": "250m", "memory": "384Mi"},
    "limits": {"memory": "768Mi"},
}
SMALL_RESOURCES = {
    "requests": {"cpu": "100m", "memory": "192Mi"},
    "limits": {"memory": "512Mi"},
}
LONGEST_VALUE = 48

Node = dict[str, Any]


def _value(default: object, text: str, **more: object) -> Node:
    kinds = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
    return {"type": kinds[type(default)], "default": default, "description": text, **more}


def _group(text: str, **properties: Node) -> Node:
    return {
        "type": "object",
        "description": text,
        "additionalProperties": False,
        "properties": properties,
    }


def _texts(text: str, **more: object) -> Node:
    """Give an object of texts, such as labels."""
    return _value({}, text, additionalProperties={"type": "string"}, **more)


def _placing() -> dict[str, Node]:
    return {
        "nodeSelector": _texts("Labels of the nodes that may run it."),
        "tolerations": _value([], "Taints of nodes that it bears."),
        "affinity": _value({}, "Affinity, as a pod has it."),
        "priorityClassName": _value("", "Priority class of its pods."),
        "podAnnotations": _texts("More annotations of its pods."),
        "podLabels": _texts(
            'More labels of its pods, such as `azure.workload.identity/use: "true"`.'
        ),
    }


def _settings() -> Node:
    known = {
        name: field
        for name, field in Settings.model_fields.items()
        if name not in {*TABLES, *FOUND, *SECRETS, *OWN}
    }
    properties = {
        name.upper(): {"type": ["string", "number", "boolean"], "description": field.description}
        for name, field in known.items()
    }
    number = {"type": ["number", "string"], "pattern": r"^[0-9]+(\.[0-9]+)?$"}
    for name in SHOWN:
        default = known[name].default
        whole = int(default) if float(default).is_integer() else default
        properties[name.upper()] |= {**number, "default": whole}
    properties["HYBRID_LOG_FORMAT"]["default"] = "json"
    brokers = properties["KAFKA_BOOTSTRAP_SERVERS"]
    brokers |= {"type": "string", "default": ""}
    brokers |= {"description": "Brokers, comma separated; needed, but where `envFrom` has them."}
    return {
        "type": "object",
        "description": "Settings of every process, by their variable; docs/configuration.md has "
        "them all. No secret can stand here.",
        "additionalProperties": False,
        "properties": properties,
    }


def _not_in_config() -> Node:
    """Refuse secrets in plain text in hybrid.toml."""
    return {"pattern": rf"(^|\n)\s*({'|'.join(SECRETS)})\s*="}


def _image() -> Node:
    return _group(
        "The image of all processes (`make image`).",
        repository=_value("hybrid-orchestrator", "Where it is, with the registry."),
        tag=_value("", "Its tag; empty: the chart's appVersion."),
        digest=_value("", "Its digest; wins over the tag.", pattern="^(sha256:[0-9a-f]{64})?$"),
        pullPolicy=_value("IfNotPresent", "When it is pulled.",
                          enum=["Always", "IfNotPresent", "Never"]),
        pullSecrets=_value([], "Names of secrets for the registry.", items={"type": "string"}),
    )  # fmt: skip


def _worker() -> Node:
    return _group(
        "The workers, a StatefulSet: a pod's name is its `HYBRID_INSTANCE_ID`.",
        replicas=_value(2, "Workers, where nothing scales them; beyond `HYBRID_PARTITIONS` they "
                        "stand by.", minimum=0),
        terminationMarginSeconds=_value(
            30, "Seconds that a stop may take beyond `HYBRID_DRAIN_BUDGET`. A worker ends itself "
            "15 s after the budget, so less than 20 is refused.", minimum=20),
        resources=_value(WORKER_RESOURCES, "Measured: docs/kubernetes.md."),
        disruptionBudget=_value(default=True, text="Whether evictions take one worker at a time."),
        spread=_value(default=True, text="Whether workers spread over zones and nodes, where that is possible."),
        **_placing(),
    )  # fmt: skip


def _autoscaling() -> Node:
    return _group(
        "More workers when work waits. The lag of a consumer group is no measure: on the deferred "
        "topics it does not return to 0.",
        kind=_value("none", "Who scales. `keda` goes by waiting work, read from Prometheus; `hpa` "
                    "by the CPU, or by metrics of your own.", enum=["none", "keda", "hpa"]),
        minReplicas=_value(2, "Workers at least; never 0: without a worker nothing says what "
                           "waits.", minimum=1),
        maxReplicas={"type": ["integer", "null"], "default": None, "minimum": 1,
                     "description": "Workers at most; null: `HYBRID_PARTITIONS`, more than which "
                     "is refused."},
        prometheus=_value("", "KEDA: address of Prometheus; needed, such as "
                          "`http://prometheus-operated.monitoring:9090`."),
        authentication=_value("", "KEDA: name of a TriggerAuthentication for it."),
        oldestSeconds=_value(30, "KEDA: age of the oldest waiting work that is aimed at.",
                             minimum=1),
        waitingPerWorker={"type": ["integer", "null"], "default": None, "minimum": 1,
                          "description": "KEDA: waiting records for each worker that are aimed "
                          "at; null: `HYBRID_CONCURRENCY`."},
        cpuPercent=_value(70, "HPA: CPU that is aimed at, of what is requested.",
                          minimum=1, maximum=100),
        metrics=_value([], "HPA: metrics in place of the CPU, as autoscaling/v2 has them (those of "
                       "pods need an adapter)."),
        behavior=_value(
            {
                "scaleUp": {"stabilizationWindowSeconds": 60,
                            "policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]},
                "scaleDown": {"stabilizationWindowSeconds": 600,
                              "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}]},
            },
            "How fast, as autoscaling/v2 has it. Every change moves lanes, so it goes down slowly."),
    )  # fmt: skip


def _monitoring() -> Node:
    return _group(
        "For the Prometheus operator.",
        serviceMonitor=_group(
            "Scraping of workers and recorders.",
            enabled=_value(default=False, text="Whether there is one."),
            interval=_value("15s", "How often."),
            labels=_texts("Labels by which your Prometheus selects it."),
        ),
        rules=_group(
            "The alerts of deploy/prometheus/rules.yaml.",
            enabled=_value(default=False, text="Whether there is a PrometheusRule."),
            labels=_texts("Labels by which your Prometheus selects it."),
        ),
    )


def _network() -> Node:
    ports = {"items": {"type": "integer", "minimum": 1, "maximum": 65535}}
    return _group(
        "What may be reached: DNS, brokers, ClickHouse (not by workers), providers; and who may "
        "read metrics.",
        enabled=_value(default=True, text="Whether there are NetworkPolicies."),
        kafkaPorts=_value([], "Ports of all listeners of the brokers; empty: those of "
                          "`KAFKA_BOOTSTRAP_SERVERS`.", **ports),
        clickhousePorts=_value([8123, 8443], "Ports of ClickHouse.", **ports),
        providerPorts=_value([443], "Ports of providers, of the webhook, of identity.", **ports),
        scrapedFrom=_value([{"namespaceSelector": {}}], "Peers that may read the metrics."),
        extraEgress=_value([], "More egress rules, of all processes."),
    )  # fmt: skip


def schema() -> Node:
    """Give the JSON Schema of the values, with their defaults."""
    secret = {
        "type": "object",
        "additionalProperties": False,
        "required": ["secret", "key"],
        "properties": {
            "secret": {"type": "string", "minLength": 1},
            "key": {"type": "string", "minLength": 1},
        },
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart hybrid-orchestrator",
        **_group(
            "",
            nameOverride=_value("", "In place of the chart's name in names."),
            fullnameOverride=_value("", "In place of release and chart in names."),
            image=_image(),
            settings=_settings(),
            secrets=_value(
                {}, "Secrets that exist: variable → `{secret, key}`. Each is a file in the pods "
                "that need it, named by `VARIABLE_FILE`: `CLICKHOUSE_URL` and `HYBRID_ALERT_*` "
                "not in workers, keys of providers in workers only.",
                propertyNames={"pattern": "^[A-Z][A-Z0-9_]*$"}, additionalProperties=secret),
            kafkaTls=_group(
                "Files of a secret for TLS to the brokers.",
                secret=_value("", "Its name; empty: none."),
                ca=_value("ca.crt", "Key with the authorities; empty: none."),
                certificate=_value("", "Key with the client's certificate, such as `tls.crt`."),
                key=_value("", "Key with the client's key, such as `tls.key`."),
            ),
            clickhouseCa=_group(
                "Authorities for ClickHouse by https.",
                secret=_value("", "Name of the secret; empty: none."),
                key=_value("ca.crt", "Its key."),
            ),
            config={**_value("", "Text of a `hybrid.toml`: providers, routes, prices, budgets. "
                             "Secrets in it are refused."), "not": _not_in_config()},
            envFrom=_value([], "ConfigMaps that exist, with more variables for all pods, as a "
                           "container has them; what stands in `settings` wins."),
            volumes=_value([], "More volumes of all pods, such as a projected token."),
            volumeMounts=_value([], "Where their containers see them."),
            prompts=_texts("Prompt templates: `<type>.txt` → text.",
                           propertyNames={"pattern": r"^[A-Za-z0-9._-]+\.txt$"}),
            serviceAccount=_group(
                "Whose identity the pods have.",
                create=_value(default=True, text="Whether it is made."),
                name=_value("", "Its name; empty: the full name, or `default` where none is made."),
                annotations=_texts("Workload identity; the setup job has an account of its own, "
                                   "its name with `-setup` behind it, with the same. Such as `eks.amazonaws.com/role-arn`, "
                                   "`azure.workload.identity/client-id` or "
                                   "`iam.gke.io/gcp-service-account`."),
            ),
            worker=_worker(),
            recorder=_group(
                "The recorder, a Deployment.",
                enabled=_value(default=True, text="Whether it runs here."),
                replicas=_value(1, "Recorders; they share the partitions.", minimum=0),
                resources=_value(RECORDER_RESOURCES, "Measured: docs/kubernetes.md."),
                **_placing(),
            ),
            setup=_group(
                "The job before each install and upgrade: `hybrid topics ensure`, `hybrid migrate`.",
                enabled=_value(default=True, text="Whether it runs; without it workers wait for their topics."),
                seconds=_value(600, "Seconds that it may take, tries included.", minimum=30),
                resources=_value(SMALL_RESOURCES, "Less than its limit was measured."),
            ),
            simulator=_group(
                "Simulated providers, in place of all real ones; nothing is spent.",
                enabled=_value(default=False, text="Whether they run, and workers call them."),
                resources=_value(SMALL_RESOURCES, "Less than its limit was measured."),
            ),
            autoscaling=_autoscaling(),
            networkPolicy=_network(),
            monitoring=_monitoring(),
            **{"global": {"type": "object", "description": "Of a chart that has this one in it."}},
        ),
    }  # fmt: skip


def _yaml(node: Node, depth: int = 0) -> list[str]:
    pad, lines = "  " * depth, []
    for name, one in node["properties"].items():
        if "properties" in one:
            lines += [*wrapped(one["description"], first=f"{pad}# ", rest=f"{pad}# ")]
            lines += [f"{pad}{name}:", *_yaml(one, depth + 1)]
        elif "default" in one:
            lines += [*wrapped(one["description"], first=f"{pad}# ", rest=f"{pad}# ")]
            lines += [f"{pad}{name}: {json.dumps(one['default'])}"]
    return lines


def _described(node: Node, path: str = "") -> list[str]:
    lines: list[str] = []
    for name, one in node["properties"].items():
        if "properties" in one:
            lines += ["", f"## `{path}{name}`", "", *wrapped(one["description"]), ""]
            lines += _described(one, f"{path}{name}.")
        elif "default" in one:
            shown = json.dumps(one["default"])
            default = f" (`{shown}`)" if len(shown) <= LONGEST_VALUE else ""
            choice = (
                f" One of {', '.join(f'`{word}`' for word in one['enum'])}."
                if "enum" in one
                else ""
            )
            lines += wrapped(
                f"`{path}{name}`{default}: {one['description']}{choice}", first="- ", rest="  "
            )
    return lines


def _readme(found: Node) -> str:
    plain = {n: one for n, one in found["properties"].items() if "properties" not in one}
    groups = {n: one for n, one in found["properties"].items() if "properties" in one}
    lines = [
        "<!-- made by `make generate` from tools/chart.py; edit that -->",
        "",
        "# The chart's values",
        "",
        "How the chart is used: [docs/kubernetes.md](../../../docs/kubernetes.md). A value that is",
        "not here is refused; [values.schema.json](values.schema.json) has types and limits. Long",
        "defaults are in [values.yaml](values.yaml).",
        "",
        *_described({"properties": plain}),
        *_described({"properties": groups}),
    ]
    return "\n".join(lines).rstrip() + "\n"


def chart_files() -> dict[str, str]:
    """Give the chart's made files, by their path in it."""
    found = schema()
    values = ["# Made by `make generate` from tools/chart.py; edit that.", *_yaml(found)]
    return {
        "values.schema.json": json.dumps(found, indent=2, ensure_ascii=False) + "\n",
        "values.yaml": "\n".join(values) + "\n",
        "README.md": _readme(found),
    }
