"""The Kubernetes manifests, as kustomize builds them: valid, locked down, and true to what the code needs."""

import functools
import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest

from contracts.http import MAX_IMAGE_BYTES
from services.gateway.http.spools import FORM_BYTES
from shared import settings
from shared.upload import saga
from shared.upload.saga import SAGA
from tests.containers.custom_resources import SPECS
from tests.containers.manifests import OVERLAYS, SECRETS, Manifest, Manifests, build, selects

VERSIONS = ("1.32", "1.37")
"""Of Kubernetes: the oldest and the newest that the manifests are for."""

SERVICES = set(saga.SERVICES)
ENGINES = (
    {"app.kubernetes.io/name": "rabbitmq"},
    {"cnpg.io/cluster": "postgres"},
)
"""Labels of the pods that the operators make."""

CONNECTIONS = 8
"""The most that one process has to the database: one that writes, two that read streams, four of the pool, one that
listens."""

built = functools.cache(build)


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return built(request.param)


@pytest.fixture
def production() -> Manifests:
    return built("production")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_has_the_shape_that_its_kind_wants(manifests: Manifests, version: str) -> None:
    for manifest in manifests:
        spec = SPECS.get((manifest["apiVersion"], manifest["kind"]))
        if spec is None:
            kubernetes_validate.validate(manifest, version, strict=True)
        else:
            jsonschema.validate(manifest["spec"], spec)


def test_a_misspelt_field_would_be_seen() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [], "restartPolice": 1}}
    scaled = {"scaleTargetRef": {"name": "x"}, "triggers": [], "maxReplicas": 3}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, VERSIONS[0], strict=True)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(scaled, SPECS["keda.sh/v1alpha1", "ScaledObject"])


def test_no_name_is_taken_twice(manifests: Manifests) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]

    assert len(names) == len(set(names))


def test_no_secret_is_written_down(manifests: Manifests) -> None:
    assert manifests.of("Secret") == []
    for _, template in manifests.pods():
        for container in template["spec"]["containers"]:
            written = [variable["name"] for variable in container.get("env", []) if "value" in variable]
            assert not [name for name in written if re.search(r"KEY|TOKEN|PASSWORD|_URL", name)]
    for manifest in manifests.of("ConfigMap"):
        assert not [name for name in manifest["data"] if re.search(r"API_KEY|ACCESS_KEY|TOKEN|DATABASE|AMQP", name)]


def test_every_service_runs_and_none_that_the_command_line_does_not_know(manifests: Manifests) -> None:
    ours = {name: template["spec"]["containers"][0].get("args") for name, template in manifests.our_pods()}

    assert {name: ours[name] for name in SERVICES} == {name: ["serve", name] for name in SERVICES}
    assert ours["migrate"] == ["migrate"]


def test_nobody_is_root_or_writes_outside_of_tmp(manifests: Manifests) -> None:
    for name, template in manifests.our_pods():
        pod, (container,) = template["spec"]["securityContext"], template["spec"]["containers"]
        assert pod["runAsNonRoot"], name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {mount["mountPath"] for mount in container.get("volumeMounts", [])} <= {"/tmp"}, name  # noqa: S108
        assert template["spec"]["automountServiceAccountToken"] is False, name


def test_every_container_says_what_memory_it_may_have(manifests: Manifests) -> None:
    for name, template in manifests.pods():
        (container,) = template["spec"]["containers"]
        assert container["resources"]["requests"]["memory"], name
        assert container["resources"]["limits"]["memory"], name


def test_a_process_accepts_the_settings_that_it_is_given(manifests: Manifests) -> None:
    for name, template in manifests.our_pods():
        if name == "bucket":
            continue
        loaded = settings.load(manifests.environment(template), service=name if name in SERVICES else settings.COMMAND)
        assert loaded.database.database_url.startswith("postgresql://"), name
        assert loaded.broker.amqp_url.startswith("amqp://"), name
        assert [warning for warning in loaded.warnings if "encryption" not in warning] == [], name


CREDENTIALS = {
    "gateway": {"S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "OPERATOR_TOKEN", "POSTHOG_API_KEY"},
    "validator": {"S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"},
    "generator": {"S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "GEMINI_API_KEY"},
    "storer": {"S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"},
    "watermarker": {"S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"},
    "dispatcher": set(),
    "analytics": {"POSTHOG_API_KEY"},
}


@pytest.mark.parametrize("service", CREDENTIALS)
def test_a_pod_has_just_the_credentials_that_it_uses(service: str, production: Manifests) -> None:
    environment = production.environment(production.one("Deployment", service)["spec"]["template"])
    everything = {name for secret in SECRETS.values() for name in secret if name.isupper()}

    assert environment.keys() & everything == CREDENTIALS[service] | {"MESSAGE_SIGNING_KEY"}
    for credential in (CREDENTIALS[service] | {"MESSAGE_SIGNING_KEY", "AMQP_URL"}) - {"POSTHOG_API_KEY"}:
        with pytest.raises(settings.SettingsError, match=credential):
            settings.load({name: value for name, value in environment.items() if name != credential}, service=service)


def test_the_migration_has_no_credential_but_the_databases(production: Manifests) -> None:
    environment = production.environment(production.one("Job", "migrate")["spec"]["template"])

    assert not environment.keys() & {name for secret in SECRETS.values() for name in secret if name.isupper()}


def test_only_settings_that_exist_are_set(manifests: Manifests) -> None:
    known = Path(__file__).parents[2].joinpath(".env.example").read_text()

    for manifest in manifests.of("ConfigMap"):
        unknown = [name for name in manifest["data"] if not re.search(rf"^{name}=", known, re.MULTILINE)]
        assert unknown == []


def test_a_pod_has_longer_to_end_than_its_process_takes(manifests: Manifests) -> None:
    for name, template in manifests.our_pods():
        if name not in SERVICES:
            continue
        grace = settings.load(manifests.environment(template), service=name).process.grace_period
        (container,) = template["spec"]["containers"]
        before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        # What is under way has the whole of it; what that wrote is then sent and committed, a fifth of it each.
        assert template["spec"]["terminationGracePeriodSeconds"] > before + 1.4 * grace, name


def test_a_generator_told_to_stop_waits_for_the_longest_call_that_it_may_have_under_way(manifests: Manifests) -> None:
    environment = manifests.environment(manifests.one("Deployment", "generator")["spec"]["template"])
    loaded = settings.load(environment, service="generator")

    assert loaded.process.grace_period > loaded.generator.generator_timeout


def test_probes_ask_where_the_process_answers(manifests: Manifests) -> None:
    for name, template in manifests.our_pods():
        if name not in SERVICES:
            continue
        (container,) = template["spec"]["containers"]
        process = settings.load(manifests.environment(template), service=name).process
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe, path in (("startupProbe", "live"), ("livenessProbe", "live"), ("readinessProbe", "ready")):
            asked = container[probe]["httpGet"]
            assert asked["path"] == f"/health/{path}", name
            assert ports[asked["port"]] == (process.port if name == "gateway" else process.health_port), name


def test_a_service_is_spread_over_machines_and_loses_one_pod_at_a_time(manifests: Manifests) -> None:
    for name, template in manifests.our_pods():
        if name not in SERVICES:
            continue
        spread = template["spec"]["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
        assert all(selects(each["labelSelector"], template["metadata"]["labels"]) for each in spread), name
        budget = manifests.one("PodDisruptionBudget", name)["spec"]
        assert budget["maxUnavailable"] == 1
        assert _picked(manifests, budget["selector"]) == [name]


def test_what_selects_pods_selects_some(manifests: Manifests) -> None:
    labels = [template["metadata"]["labels"] for _, template in manifests.pods()] + list(ENGINES)

    for manifest in manifests.of("Service", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor"):
        for selector in _selectors(manifest):
            assert any(selects(selector, each) for each in labels), (manifest["metadata"]["name"], selector)


def test_the_ingress_reaches_the_gateway_and_nothing_else(manifests: Manifests) -> None:
    (ingress,) = manifests.of("Ingress")
    backends = [path["backend"]["service"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    service = manifests.one("Service", "gateway")["spec"]

    assert backends == [{"name": "gateway", "port": {"name": "http"}}] * len(backends)
    assert _picked(manifests, {"matchLabels": service["selector"]}) == ["gateway"]
    (container,) = manifests.one("Deployment", "gateway")["spec"]["template"]["spec"]["containers"]
    assert service["ports"][0]["targetPort"] in [port["name"] for port in container["ports"]]


def test_the_ingress_leads_to_the_interface_and_the_pages_and_not_to_what_is_for_machines(manifests: Manifests) -> None:
    (ingress,) = manifests.of("Ingress")
    paths = [(path["path"], path["pathType"]) for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]

    def reached(url: str) -> bool:
        return any(url == path if kind == "Exact" else f"{url}/".startswith(f"{path}/") for path, kind in paths)

    assert all(map(reached, ("/", "/api/uploads", "/api/ops/runs", "/processing/1", "/assets/1/a.js", "/schema")))
    assert not any(map(reached, ("/metrics", "/health/live", "/health/ready", "/healthz")))


def test_the_ingress_lets_the_largest_upload_through(manifests: Manifests) -> None:
    (ingress,) = manifests.of("Ingress")
    (megabytes,) = re.findall(
        r"^(\d+)m$", ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    )

    assert int(megabytes) * 2**20 >= MAX_IMAGE_BYTES + FORM_BYTES


def test_prometheus_knows_every_service_as_rules_and_dashboard_ask_for_it(production: Manifests) -> None:
    ours = [
        monitor
        for monitor in production.of("PodMonitor")
        if set(_picked(production, monitor["spec"]["selector"])) & SERVICES
    ]
    found = {name for monitor in ours for name in _picked(production, monitor["spec"]["selector"])}

    assert found == SERVICES
    for monitor in ours:
        job = monitor["spec"]["jobLabel"]
        for name, template in production.our_pods():
            if name in SERVICES:
                assert template["metadata"]["labels"][job] == "darkroom"
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert [each["targetLabel"] for each in endpoint["relabelings"]] == ["service"]


def test_every_stage_is_scaled_on_what_waits_and_what_is_in_hand(production: Manifests) -> None:
    scaled = {each["spec"]["scaleTargetRef"]["name"]: each["spec"] for each in production.of("ScaledObject")}

    assert set(scaled) == {row.queue for row in SAGA.values()}
    for row in SAGA.values():
        (trigger,) = scaled[row.queue]["triggers"]
        asked = trigger["metadata"]
        assert (asked["queueName"], asked["mode"], asked["protocol"]) == (row.queue, "QueueLength", "http")
        assert 0 < int(asked["value"]) <= row.concurrency
        assert 2 <= scaled[row.queue]["minReplicaCount"] < scaled[row.queue]["maxReplicaCount"]
        # A number here would fight with KEDA's at every `apply`.
        assert "replicas" not in production.one("Deployment", row.queue)["spec"]


def test_production_keeps_what_it_confirmed_when_a_machine_is_lost(production: Manifests) -> None:
    postgres, rabbit = production.one("Cluster", "postgres")["spec"], production.one("RabbitmqCluster", "rabbitmq")

    assert rabbit["spec"]["replicas"] == 3
    assert postgres["instances"] == 3
    # An answered commit is on a second machine: a 202 outlives the first one.
    assert postgres["postgresql"]["synchronous"] == {"method": "any", "number": 1, "dataDurability": "required"}


def test_the_database_takes_as_many_connections_as_all_replicas_may_open(production: Manifests) -> None:
    most = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["maxReplicaCount"]
        for each in production.of("ScaledObject")
    }
    most |= {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["maxReplicas"]
        for each in production.of("HorizontalPodAutoscaler")
    }
    most |= {name: production.one("Deployment", name)["spec"]["replicas"] for name in SERVICES - set(most)}
    allowed = int(production.one("Cluster", "postgres")["spec"]["postgresql"]["parameters"]["max_connections"])

    assert CONNECTIONS * sum(most.values()) < allowed


def test_what_has_to_talk_may_and_the_rest_may_not(manifests: Manifests) -> None:
    postgres, rabbit = ENGINES[1], ENGINES[0]

    deny = manifests.one("NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, template in manifests.our_pods():
        labels = template["metadata"]["labels"]
        assert _may_talk(manifests, labels, postgres, 5432), name
        assert _may_talk(manifests, labels, rabbit, 5672), name
        # No service calls another, and none administers the broker.
        assert not _may_talk(manifests, labels, {**labels, "app.kubernetes.io/component": "gateway"}, 8000), name
        assert not _may_talk(manifests, labels, rabbit, 15672), name
    assert not _may_talk(manifests, rabbit, postgres, 5432)


def _picked(manifests: Manifests, selector: Manifest) -> list[str]:
    return [name for name, template in manifests.pods() if selects(selector, template["metadata"]["labels"])]


def _selectors(manifest: Manifest) -> list[Manifest]:
    spec = manifest["spec"]
    if manifest["kind"] == "Service":
        return [{"matchLabels": spec["selector"]}]
    own = spec.get("selector", spec.get("podSelector"))
    peers = [
        peer
        for rule in spec.get("ingress", []) + spec.get("egress", [])
        for peer in [*rule.get("from", []), *rule.get("to", [])]
    ]
    return [own, *(peer["podSelector"] for peer in peers if "podSelector" in peer)]


def _may_talk(manifests: Manifests, sender: dict[str, str], receiver: dict[str, str], port: int) -> bool:
    """Return whether policies let one pod open a connection to another: both have to allow it."""
    return _allowed(manifests, "egress", "to", sender, receiver, port) and _allowed(
        manifests, "ingress", "from", receiver, sender, port
    )


def _allowed(manifests: Manifests, way: str, side: str, pod: dict[str, str], peer: dict[str, str], port: int) -> bool:
    rules = [
        rule
        for policy in manifests.of("NetworkPolicy")
        if selects(policy["spec"]["podSelector"], pod)
        for rule in policy["spec"].get(way, [])
    ]
    return any(
        any(port in (each["port"], *range(each["port"], each.get("endPort", 0))) for each in rule["ports"])
        and any("podSelector" in each and selects(each["podSelector"], peer) for each in rule.get(side, []))
        for rule in rules
    )
