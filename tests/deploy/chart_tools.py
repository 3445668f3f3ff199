"""What checks charts and manifests: tools built as Go modules, schemas of Kubernetes and of CRDs.

All of it lies in a folder of the user's cache, and is made once. Whatever cannot be had is a
ToolMissingError, whose sentence says what lacks.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import yaml

from hybrid.stack.jars import cache_folder

__all__ = ["KUBERNETES", "ToolMissingError", "need_schemas", "need_tool", "output_of"]

#: The oldest and the newest that the schemas' wheel has and a cluster still runs, and one between.
KUBERNETES = ("1.31.0", "1.34.0", "1.37.0")
#: Command → its package, the module that it is in, the version.
TOOLS = {
    "helm": ("helm.sh/helm/v3/cmd/helm", "helm.sh/helm/v3", "v3.22.0"),
    "kubeconform": (
        "github.com/yannh/kubeconform/cmd/kubeconform", "github.com/yannh/kubeconform", "v0.8.0",
    ),
    "kustomize": (
        "sigs.k8s.io/kustomize/kustomize/v5", "sigs.k8s.io/kustomize/kustomize/v5", "v5.8.1",
    ),
    "actionlint": (
        "github.com/rhysd/actionlint/cmd/actionlint", "github.com/rhysd/actionlint", "v1.7.12",
    ),
    "promtool": (
        "github.com/prometheus/prometheus/cmd/promtool", "github.com/prometheus/prometheus",
        "v0.307.3",
    ),
}  # fmt: skip
#: Module with CRDs, and where in it they are.
CRDS = (
    ("github.com/kedacore/keda/v2@v2.21.0", "config/crd/bases/keda.sh_scaledobjects.yaml"),
    ("github.com/prometheus-operator/prometheus-operator@v0.85.0",
     "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
    ("github.com/prometheus-operator/prometheus-operator@v0.85.0",
     "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
)  # fmt: skip
#: Its wheel carries Kubernetes' JSON schemas (Apache-2.0).
WHEEL = "kubernetes-validate==1.37.0"
WHEEL_SHA256 = "85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9"
#: The Prometheus server is a large program, on few cores.
BUILD_LIMIT_S = 1500


class ToolMissingError(Exception):
    """Raised when a tool or a schema cannot be had; the text says what to do."""


def _folder() -> Path:
    found = cache_folder() / "deploy-tools"
    found.mkdir(parents=True, exist_ok=True)
    return found


def output_of(*command: str | Path, check: bool = True, text_in: str | None = None) -> str:
    """Run a command; gives what it printed. With `check` a failure is an AssertionError."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False,
        input=text_in, timeout=120,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def _go(*arguments: str, folder: Path | None = None) -> str:
    if shutil.which("go") is None:
        message = "no go command here: install Go 1.26 or newer, by which helm and others are built"
        raise ToolMissingError(message)
    done = subprocess.run(
        ["go", *arguments], capture_output=True, text=True, check=False, cwd=folder,
        timeout=BUILD_LIMIT_S,
        env={**os.environ, "GOBIN": str(_folder()), "GOFLAGS": "-buildvcs=false"},
    )  # fmt: skip
    if done.returncode:
        message = f"`go {' '.join(arguments)}` failed: {done.stderr.strip()[-300:]}"
        raise ToolMissingError(message)
    return done.stdout


def _module(name: str) -> Path:
    """Give the folder of a Go module's sources."""
    return Path(json.loads(_go("mod", "download", "-json", name))["Dir"])


def need_tool(name: str) -> Path:
    """Give a command, built when it is wanted for the first time; raises ToolMissingError."""
    package, module, version = TOOLS[name]
    found = _folder() / f"{name}-{version}"
    if found.exists():
        return found
    print(f"building {name} {version} (once)")
    made = _folder() / name
    if name == "promtool":  # its module excludes versions, which `go install` does not take
        _go("build", "-o", str(made), f"./{package.removeprefix(module).strip('/')}",
            folder=_module(f"{module}@{version}"))  # fmt: skip
    else:
        _go("install", f"{package}@{version}")
    made.rename(found)
    return found


def need_schemas() -> Path:
    """Give the folder of schemas, as `vVERSION/KIND.json` and `crds/KIND.json`."""
    done = "-".join([WHEEL.partition("==")[2], *KUBERNETES])
    folder = _folder() / f"schemas-{done}"
    if not folder.exists():
        made = folder.with_suffix(".part")
        shutil.rmtree(made, ignore_errors=True)
        _unpack_kubernetes(made)
        _unpack_crds(made / "crds")
        made.rename(folder)
    return folder


def _unpack_kubernetes(folder: Path) -> None:
    downloads = _folder() / "wheels"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(downloads),
         WHEEL], capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    wheels = list(downloads.glob("kubernetes_validate-*.whl"))
    if done.returncode or len(wheels) != 1:
        message = f"{WHEEL}, with Kubernetes' schemas, cannot be had: {done.stderr.strip()[-300:]}"
        raise ToolMissingError(message)
    if hashlib.sha256(wheels[0].read_bytes()).hexdigest() != WHEEL_SHA256:
        message = f"{wheels[0].name} is not the file that was recorded: delete it"
        raise ToolMissingError(message)
    with zipfile.ZipFile(wheels[0]) as wheel:
        for version in KUBERNETES:
            (folder / f"v{version}").mkdir(parents=True)
            place = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict/"
            for name in wheel.namelist():
                if name.startswith(place):
                    # References there are to a server's path, here to a file beside.
                    text = wheel.read(name).replace(b'"/api/_definitions', b'"_definitions')
                    schema = {k: v for k, v in json.loads(text).items() if k not in {"$id", "id"}}
                    file = folder / f"v{version}" / name.removeprefix(place)
                    file.write_text(json.dumps(schema))


def _unpack_crds(folder: Path) -> None:
    folder.mkdir()
    for module, path in CRDS:
        document = yaml.safe_load((_module(module) / path).read_text())
        kind = document["spec"]["names"]["singular"]
        for version in document["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            _closed(schema)
            schema["properties"]["metadata"] = {"type": "object"}
            (folder / f"{kind}_{version['name']}.json").write_text(json.dumps(schema))


def _closed(schema: Any) -> None:
    """Refuse what a CRD's schema does not name, as `kubectl` and the server's strict mode do."""
    if isinstance(schema, list):
        for one in schema:
            _closed(one)
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        schema["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    for one in schema.values():
        _closed(one)
