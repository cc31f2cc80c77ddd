"""What dashboard and alerts ask for exists: each metric and label by name, in the registry that a process shows."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from shared.observability import metrics
from shared.upload.saga import SERVICES

DEPLOY = Path(__file__).parents[3] / "deploy"
ROOM = DEPLOY / "observability"

_OURS = re.compile(r"\b((?:darkroom|process|python)_[a-z0-9_]+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r'([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_BY = re.compile(r"\bby \(([a-z_, ]+)\)")
GIVEN_BY_PROMETHEUS = {"job", "instance", "service", "le"}


def alerts():
    return {
        rule["alert"]: rule
        for group in yaml.safe_load((ROOM / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    }


def panels():
    return json.loads((ROOM / "grafana/dashboards/darkroom.json").read_text())["panels"]


def expressions():
    found = [rule["expr"] for rule in alerts().values()]
    return found + [target["expr"] for panel in panels() for target in panel.get("targets", ())]


def known():
    """Return each series' name with the labels it may have."""
    ours = {}
    for name in dir(metrics):
        metric = getattr(metrics, name)
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            for suffix in {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",)):
                ours[family.name + suffix] = set(metric._labelnames)
    library = {sample.name: set(sample.labels) for family in REGISTRY.collect() for sample in family.samples}
    return {**library, **ours}


@pytest.mark.parametrize("expression", expressions())
def test_every_series_and_label_that_is_asked_for_exists(expression):
    there = known()
    asked = _OURS.findall(expression)
    assert asked or "up{" in expression
    labels = set()
    for name, selectors in asked:
        assert name in there
        labels |= there[name]
        assert {label for label, _, _ in _LABEL.findall(selectors)} <= there[name] | GIVEN_BY_PROMETHEUS
    for group in _BY.findall(expression):
        assert set(group.split(", ")) <= labels | GIVEN_BY_PROMETHEUS


@pytest.mark.parametrize("expression", expressions())
def test_every_bracket_is_closed(expression):
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_every_stage_that_an_expression_names_is_a_service():
    named = {
        value for expression in expressions() for label, _, value in _LABEL.findall(expression) if label == "stage"
    }
    assert named
    assert named <= set(SERVICES)


def test_every_outcome_that_an_expression_names_is_counted():
    source = "".join(
        path.read_text() for room in ("shared", "services") for path in (DEPLOY.parent / room).rglob("*.py")
    )
    outcomes = {
        outcome
        for expression in expressions()
        for label, _, value in _LABEL.findall(expression)
        if label == "outcome"
        for outcome in value.split("|")
    }
    assert outcomes
    assert not [outcome for outcome in outcomes if f'"{outcome}"' not in source]


def test_every_alert_says_how_bad_it_is_and_in_a_sentence_what_is_wrong():
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert rule["annotations"]["summary"], name


def test_prometheus_asks_every_service_where_it_answers():
    (job,) = yaml.safe_load((ROOM / "prometheus.yml").read_text())["scrape_configs"]
    ports = {name: each["port"] for each in job["dns_sd_configs"] for name in each["names"]}
    assert set(ports) == set(SERVICES)
    image = (DEPLOY / "Dockerfile").read_text()
    health = int(re.search(r"\bHEALTH_PORT=(\d+)", image)[1])
    assert {port for name, port in ports.items() if name != "gateway"} == {health}
    assert ports["gateway"] == int(re.search(r"\bPORT=(\d+)", image)[1])


def test_grafana_finds_the_dashboard_and_the_dashboard_its_data_source():
    grafana = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())["services"]["grafana"]
    mounts = {there: (DEPLOY.parent / here) for here, there, _ in (each.split(":") for each in grafana["volumes"][:2])}
    (source,) = yaml.safe_load((ROOM / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((ROOM / "grafana/provisioning/dashboards/darkroom.yml").read_text())["providers"]
    shown = [panel for panel in panels() if panel["type"] != "row"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert mounts["/etc/grafana/provisioning"] == ROOM / "grafana/provisioning"
    assert mounts[provider["options"]["path"]] == ROOM / "grafana/dashboards"
    assert (mounts[str(home.parent)] / home.name).is_file()
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in shown} == {source["uid"]}
    assert all(panel["datasource"]["type"] == source["type"] for panel in shown)


def test_no_two_panels_lie_on_each_other():
    taken = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
