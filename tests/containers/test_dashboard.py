"""A real Prometheus over the running stack: every query of the dashboard gives data, and every alert can fire."""

from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import docker
import httpx
import pytest
import yaml

from contracts.events import StageAttemptFailed
from shared.messaging.topology import dead
from tests.containers.compose import ROOT, ComposeStack
from tests.containers.prometheus import Prometheus, image, queries
from tests.containers.scenes import SCENES, as_told_to_promtool
from tests.photos import a_jpeg
from tests.stack import Client, eventually

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

QUERIES = list(queries())
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((ROOT / "deploy/observability/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
COMPLETED = 5


@pytest.fixture(scope="module")
def prometheus(running: ComposeStack) -> Iterator[Prometheus]:
    """Return a Prometheus that looked on: runs completed, one failed, one was retried, and a message was unreadable."""
    with image():
        running.add("prometheus")
        try:
            server = Prometheus(running)
            client = Client(running.url)
            with closing(server.http), closing(client.http):
                _complete_some(client)
                _fail_one(client)
                _have_one_retried(client, running, server)
                _send_what_nobody_can_read(running)
                server.look_again()
                yield server
        finally:
            running.remove("prometheus")
            _rabbit(running, "DELETE", f"queues/%2F/{dead('storer')}/contents")


@pytest.mark.parametrize(("panel", "expression"), QUERIES, ids=[f"{p['title']}: {e}" for p, e in QUERIES])
def test_every_query_of_the_dashboard_gives_data(
    prometheus: Prometheus, panel: dict[str, object], expression: str
) -> None:
    assert prometheus.shown(panel, expression)


def test_the_dashboard_tells_what_happened(prometheus: Prometheus) -> None:
    shown = {panel["title"]: prometheus.shown(panel, expression) for panel, expression in QUERIES}
    (dead_letters,) = shown["Dead letters"]
    (completed,), (failed,) = shown["Runs completed in the last hour"], shown["Runs failed in the last hour"]

    assert dead_letters == 1
    # Prometheus reckons what happened before its first look and after its last.
    assert completed == pytest.approx(COMPLETED + 1, rel=0.3)
    assert failed == pytest.approx(1, rel=0.3)
    assert max(shown["Failed attempts by reason"]) >= 1
    assert min(shown["Parts that can be reached"]) == 0
    assert max(shown["Since a dispatcher last looked"]) < 60


def test_every_rule_is_evaluated_without_an_error(prometheus: Prometheus) -> None:
    rules = prometheus.rules()

    assert set(rules) == set(RULES)
    assert {name: rule.get("lastError") for name, rule in rules.items() if rule["health"] != "ok"} == {}


def test_a_dead_letter_is_told(prometheus: Prometheus) -> None:
    assert prometheus.rules()["DeadLetters"]["state"] in ("pending", "firing")


def test_nothing_else_is_told_of_a_stack_that_is_well(prometheus: Prometheus) -> None:
    firing = {name for name, rule in prometheus.rules().items() if rule["state"] == "firing"}

    assert firing <= {"DeadLetters"}


def test_promtool_finds_no_fault_with_the_configuration(prometheus: Prometheus) -> None:
    status, said = prometheus.promtool("check", "config", "/etc/prometheus/prometheus.yml")

    assert status == 0, said
    assert f"{len(RULES)} rules found" in said


def test_every_alert_fires_when_it_should_and_not_before(prometheus: Prometheus) -> None:
    told = as_told_to_promtool(SCENES, RULES, "/etc/prometheus/alerts.yml")

    assert {scene.alert for scene in SCENES if scene.after} == set(RULES)
    status, said = prometheus.promtool("test", "rules", scenes=told)
    assert status == 0, said


def test_a_service_that_has_gone_altogether_is_missed(prometheus: Prometheus, stack: ComposeStack) -> None:
    missed = RULES["ServiceGone"]["expr"]
    assert prometheus.labels(missed) == []

    stack.container("analytics").stop(timeout=30)

    def named() -> bool:
        return [labels.get("service") for labels in prometheus.labels(missed)] == ["analytics"]

    eventually(named, within=60, every=1, or_show=lambda: str(prometheus.labels(missed)))


def _complete_some(client: Client) -> None:
    begun = [client.upload(a_jpeg(640 + number, 480)) for number in range(COMPLETED)]
    for upload_id, token in begun:
        assert client.start(upload_id, token).status_code == 202
    for upload_id, token in begun:
        assert client.finished(upload_id, token)["status"] == "completed"


def _fail_one(client: Client) -> None:
    photo = a_jpeg(1200, 900)
    upload_id, token = client.upload(photo[: len(photo) // 2])
    assert client.start(upload_id, token).status_code == 202
    assert client.finished(upload_id, token)["status"] == "failed"


def _have_one_retried(client: Client, stack: ComposeStack, prometheus: Prometheus) -> None:
    """Take the object store off the network until an attempt has failed for want of it, and Prometheus has seen it."""
    upload_id, token = client.upload(a_jpeg(800, 600))
    store = stack.container("s3")
    (network,) = docker.from_env().networks.list(filters={"label": f"com.docker.compose.project={stack.project}"})
    network.disconnect(store)
    try:
        assert client.start(upload_id, token).status_code == 202
        kinds = lambda: [type(event) for event in stack.events()[UUID(upload_id)]]  # noqa: E731
        eventually(lambda: StageAttemptFailed in kinds(), within=90, every=0.5, or_show=lambda: str(kinds()))
        # An attempt fails at once; scrapes, and the steps of the dashboard, are ten seconds apart.
        eventually(lambda: len(prometheus.labels("darkroom_up == 0")) > 1, within=40, every=0.5)
    finally:
        network.connect(store, aliases=["s3"])
    assert client.finished(upload_id, token, within=120)["status"] == "completed"


def _send_what_nobody_can_read(stack: ComposeStack) -> None:
    message = {"routing_key": "storer", "payload": "{", "payload_encoding": "string", "properties": {}}
    assert _rabbit(stack, "POST", "exchanges/%2F/amq.default/publish", json=message).json() == {"routed": True}


def _rabbit(stack: ComposeStack, method: str, path: str, **more: object) -> httpx.Response:
    url = f"{stack.rabbitmq_url}/api/{path}"
    return httpx.request(method, url, auth=("darkroom", "darkroom"), timeout=30, **more).raise_for_status()
