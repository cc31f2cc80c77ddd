"""The Kubernetes manifests as kustomize builds them, and what can be asked about them."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = ("development", "production")

Manifest = dict[str, Any]


class Manifests(list[Manifest]):
    """All objects of one overlay."""

    def of(self, *kinds: str) -> list[Manifest]:
        """Return the objects of these kinds."""
        return [manifest for manifest in self if manifest["kind"] in kinds]

    def one(self, kind: str, name: str) -> Manifest:
        """Return an object by its name. Raises ValueError where there is none."""
        (found,) = (manifest for manifest in self.of(kind) if manifest["metadata"]["name"] == name)
        return found

    def pods(self) -> Iterator[tuple[str, Manifest]]:
        """Return the name of everything that runs pods, and its pods' template."""
        for manifest in self.of("Deployment", "Job"):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]

    def our_pods(self) -> Iterator[tuple[str, Manifest]]:
        """Return those of them that run our image."""
        for name, template in self.pods():
            if template["metadata"]["labels"]["app.kubernetes.io/name"] == "darkroom":
                yield name, template

    def environment(self, template: Manifest) -> dict[str, str]:
        """Return what a pod's process finds set, with a likely value for what comes from a Secret."""
        (container,) = template["spec"]["containers"]
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                found |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
            else:
                found |= SECRETS[source["secretRef"]["name"]]
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            found[variable["name"]] = SECRETS[reference["name"]][reference["key"]] if reference else variable["value"]
        return found


SECRETS = {
    "darkroom-messages": {"MESSAGE_SIGNING_KEY": "a-key-of-more-than-thirty-two-characters"},
    "darkroom-objects": {"S3_ACCESS_KEY_ID": "key", "S3_SECRET_ACCESS_KEY": "secret"},
    "darkroom-operators": {"OPERATOR_TOKEN": "a-token-of-more-than-thirty-two-characters"},
    "darkroom-gemini": {"GEMINI_API_KEY": "key"},
    "darkroom-analytics": {"POSTHOG_API_KEY": "key"},
    "postgres-app": {"uri": "postgresql://darkroom:secret@postgres-rw.darkroom:5432/darkroom"},
    "rabbitmq-default-user": {"connection_string": "amqp://someone:secret@rabbitmq.darkroom.svc:5672/"},
}
"""What the Secrets hold that the manifests name: the first are made by a person, the last two by the operators."""


def build(overlay: str) -> Manifests:
    """Build an overlay with the kustomize in kubectl. Raises CalledProcessError with what it says."""
    kubectl = Path(sys.executable).with_name("kubectl")
    command = [str(kubectl) if kubectl.exists() else shutil.which("kubectl") or "kubectl", "kustomize"]
    built = subprocess.run(
        [*command, str(KUBERNETES / "overlays" / overlay)], capture_output=True, text=True, timeout=60
    )
    assert built.returncode == 0, built.stderr
    return Manifests(yaml.safe_load_all(built.stdout))


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether a label selector picks a pod with these labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        if (labels.get(rule["key"]) in rule["values"]) is not (rule["operator"] == "In"):
            return False
    return True
