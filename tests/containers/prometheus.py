"""Prometheus beside the stack, as `COMPOSE_PROFILES=observability just up` starts it, and what can be asked of it."""

import contextlib
import io
import json
import math
import re
import tarfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import docker
import httpx
import yaml
from docker.errors import APIError, ImageNotFound

from shared.upload.saga import SERVICES
from tests.containers.compose import ROOT, ComposeStack
from tests.stack import eventually

DASHBOARD = ROOT / "deploy/observability/grafana/dashboards/darkroom.json"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

STAND_IN = "darkroom-test/prometheus:debian"
DOCKERFILE = b"""\
FROM debian:bookworm-slim
RUN apt-get update --quiet=2 \\
 && apt-get install --yes --quiet=2 --no-install-recommends prometheus >/dev/null \\
 && rm -rf /var/lib/apt/lists/* && mkdir -p /prometheus && chown nobody: /prometheus
USER nobody
WORKDIR /prometheus
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
"""

EVERY = 10
"""Seconds between two scrapes, as deploy/observability/prometheus.yml has it."""

_GRAFANA = {"$__rate_interval": f"{4 * EVERY}s", "$__interval": f"{EVERY}s", "$__range": "1h"}
"""What Grafana puts in the place of its variables."""


@contextlib.contextmanager
def image() -> Iterator[None]:
    """Have the image that docker-compose.yml names: its own, or where no registry answers one of Debian's package.

    The latter bears the name only for as long as this lasts, so that nobody takes it for the real one.
    """
    name, engine = COMPOSE["services"]["prometheus"]["image"], docker.from_env()
    try:
        engine.images.get(name)
    except ImageNotFound:
        try:
            engine.images.pull(name)
        except APIError:
            built, _ = engine.images.build(fileobj=io.BytesIO(DOCKERFILE), tag=STAND_IN, network_mode="host", rm=True)
            built.tag(name)
            try:
                yield
            finally:
                engine.images.remove(name)
            return
    yield


class Prometheus:
    """The server of one stack. `began` is when the first look at every service was done."""

    def __init__(self, stack: ComposeStack) -> None:
        self._stack = stack
        self.http = httpx.Client(base_url=stack.prometheus_url, timeout=10)
        eventually(self._sees_all, within=90, every=1, or_show=lambda: str(self._targets()))
        self.began = time.time()

    def look_again(self) -> None:
        """Wait until every service was looked at twice more: a rate takes two."""
        time.sleep(2.5 * EVERY)

    def now(self, expression: str) -> list[float]:
        """Return an expression's values as they are now."""
        result = self._asked("/api/v1/query", query=expression)
        return [float(series["value"][1]) for series in result]

    def labels(self, expression: str) -> list[dict[str, str]]:
        """Return the labels of an expression's series as they are now."""
        return [series["metric"] for series in self._asked("/api/v1/query", query=expression)]

    def shown(self, panel: Mapping[str, Any], expression: str) -> list[float]:
        """Return what a panel of the dashboard shows for an expression: Grafana's query, without what is no number."""
        for variable, value in _GRAFANA.items():
            expression = re.sub(rf"{re.escape(variable)}\b", value, expression)
        if panel["type"] == "stat":
            values = self.now(expression)
        else:
            asked = {"query": expression, "start": self.began, "end": time.time(), "step": EVERY}
            result = self._asked("/api/v1/query_range", **asked)
            values = [float(value) for series in result for _, value in series["values"]]
        return [value for value in values if math.isfinite(value)]

    def rules(self) -> dict[str, dict[str, Any]]:
        """Return every alert's rule as the server has it, by name."""
        answer = self.http.get("/api/v1/rules").raise_for_status().json()
        return {rule["name"]: rule for group in answer["data"]["groups"] for rule in group["rules"]}

    def promtool(self, *arguments: str, scenes: bytes | None = None) -> tuple[int, str]:
        """Run Prometheus' own checker in its container, on a file of scenes; return its status and what it says."""
        container = self._stack.container("prometheus")
        if scenes is not None:
            archive, file = io.BytesIO(), tarfile.TarInfo("scenes.yml")
            file.size, file.mode = len(scenes), 0o644
            with tarfile.open(fileobj=archive, mode="w") as tar:
                tar.addfile(file, io.BytesIO(scenes))
            container.put_archive("/tmp", archive.getvalue())  # noqa: S108 — the container's own
            arguments = (*arguments, "/tmp/scenes.yml")  # noqa: S108 — likewise
        done = container.exec_run(["promtool", *arguments])
        return done.exit_code, done.output.decode()

    def _asked(self, path: str, **query: object) -> list[dict[str, Any]]:
        answer = self.http.post(path, data=query)
        assert answer.status_code == 200, answer.text
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    def _targets(self) -> list[dict[str, Any]]:
        try:
            answer = self.http.get("/api/v1/targets", params={"state": "active"})
        except httpx.TransportError as error:
            return [{"error": str(error)}]
        return answer.json()["data"]["activeTargets"] if answer.status_code == 200 else [{"error": answer.text}]

    def _sees_all(self) -> bool:
        well = {each["labels"]["service"] for each in self._targets() if each.get("health") == "up"}
        return well == set(SERVICES)


def queries() -> Iterator[tuple[dict[str, Any], str]]:
    """Return each panel of the dashboard with each expression that it shows."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel, target["expr"]
