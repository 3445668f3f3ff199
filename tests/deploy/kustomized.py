"""The bases of deploy/kustomize: the chart, rendered once. `make kustomize` writes them."""

import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.chart_tools import ToolMissingError
from tests.deploy.charts import render
from tests.deploy.engine import ROOT

__all__ = ["FOLDER", "bases"]

FOLDER = ROOT / "deploy/kustomize"
MONITORING = ("ServiceMonitor", "PrometheusRule")
HELMS = ("helm.sh/chart", "app.kubernetes.io/managed-by")
NOTE = "# Rendered from the chart with ../values.yaml by `make kustomize`; edit those.\n"


def bases() -> dict[Path, str]:
    """Give the text of each base; raises ToolMissingError."""
    values = yaml.safe_load((FOLDER / "values.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        made = render(values, Path(folder), release="hybrid")
    found: dict[str, list[dict[str, Any]]] = {"base": [], "setup": [], "prometheus": []}
    for one in made.all:
        process = one["metadata"]["labels"]["app.kubernetes.io/component"]
        base = "prometheus" if one["kind"] in MONITORING else "base"
        found["setup" if process == "setup" else base].append(_plain(one))
    return {
        FOLDER / name / "rendered.yaml": NOTE + yaml.safe_dump_all(all_, sort_keys=False, width=100)
        for name, all_ in found.items()
    }


def _plain(manifest: dict[str, Any]) -> dict[str, Any]:
    """Take away what only helm knows: its labels, its hooks."""
    for place in (manifest, manifest.get("spec", {}).get("template", {})):
        metadata = place.get("metadata", {})
        metadata.pop("namespace", None)
        for name in HELMS:
            metadata.get("labels", {}).pop(name, None)
        notes = metadata.get("annotations", {})
        for name in [one for one in notes if one.startswith(("helm.sh/", "checksum/"))]:
            del notes[name]
        if not notes:
            metadata.pop("annotations", None)
    return manifest


if __name__ == "__main__":
    try:
        for path, text in bases().items():
            path.write_text(text)
    except ToolMissingError as error:
        sys.exit(f"{error}")
