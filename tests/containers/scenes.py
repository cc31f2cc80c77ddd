"""What Prometheus might see, and which alert is to come of it, as `promtool test rules` wants it told."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from shared.upload.saga import SERVICES

Series = Mapping[str, str]
"""Values every ten seconds by series, in promtool's notation: `0+1x60` is sixty more, each greater by one."""

_ALL_UP = {f'up{{job="darkroom", service="{service}", instance="{service}:1"}}': "1x90" for service in SERVICES}
_PROVIDER = {"provider": "gemini", "model": "m"}


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """`alert` is silent `before` and fires `after`, with this sentence. Without `after` it never does."""

    alert: str
    seen: Series
    before: str
    after: str | None = None
    labels: Mapping[str, str] = {}
    summary: str = ""


SCENES = (
    Scene(
        alert="OutboxNotMoving",
        seen={'darkroom_outbox_oldest_seconds{service="dispatcher"}': "70+10x30"},
        before="50s",
        after="90s",
        summary="The oldest outbox row has been overdue for 2m 40s",
    ),
    Scene(
        alert="NoDispatcher",
        seen={'darkroom_dispatcher_swept_timestamp_seconds{service="gateway"}': "0x30"},
        before="100s",
        after="150s",
        summary="No dispatcher has looked at the outbox for a minute",
    ),
    Scene(
        alert="DeadLetters",
        seen={'darkroom_dead_letters{queue="storer"}': "0x3 2x30"},
        before="80s",
        after="120s",
        labels={"queue": "storer"},
        summary="2 dead letters behind storer",
    ),
    Scene(
        alert="EventUnroutable",
        seen={'darkroom_sends_total{by="gateway", outcome="unroutable"}': "0x3 1x30"},
        before="30s",
        after="60s",
        summary="An event that somebody wants has no queue",
    ),
    Scene(
        alert="RunsFail",
        seen={
            'darkroom_stage_outcomes_total{stage="storer", outcome="done"}': "0+1x90",
            'darkroom_stage_outcomes_total{stage="storer", outcome="failed"}': "0+1x90",
        },
        before="4m",
        after="8m",
        labels={"stage": "storer"},
        summary="50% of the runs that reach storer fail there",
    ),
    Scene(
        # One of two is a half, but not many.
        alert="RunsFail",
        seen={
            'darkroom_stage_outcomes_total{stage="storer", outcome="done"}': "0x3 1x60",
            'darkroom_stage_outcomes_total{stage="storer", outcome="failed"}': "0x3 1x60",
        },
        before="10m",
    ),
    Scene(
        alert="BreakerOpen",
        seen={'darkroom_breaker_open{stage="generator"}': "0x3 1x30"},
        before="2m",
        after="170s",
        labels={"stage": "generator"},
        summary="generator takes nothing up: what it calls is down",
    ),
    Scene(
        alert="ProviderFails",
        seen={
            'darkroom_provider_calls_total{provider="gemini", model="m", outcome="ok"}': "0+3x90",
            'darkroom_provider_calls_total{provider="gemini", model="m", outcome="failed"}': "0+1x90",
            'darkroom_provider_calls_total{provider="gemini", model="m", outcome="unknown"}': "0+1x90",
        },
        before="4m",
        after="8m",
        labels=_PROVIDER,
        summary="40% of the calls of gemini fail",
    ),
    Scene(
        alert="GeneratingSlow",
        seen={
            'darkroom_stage_seconds_bucket{stage="generator", le="120"}': "0x90",
            'darkroom_stage_seconds_bucket{stage="generator", le="150"}': "0+1x90",
            'darkroom_stage_seconds_bucket{stage="generator", le="+Inf"}': "0+1x90",
        },
        before="9m",
        after="12m",
        summary="One generation in twenty takes longer than 2m 28s",
    ),
    Scene(
        alert="StageSlow",
        seen={
            'darkroom_stage_seconds_bucket{stage="storer", le="10"}': "0x90",
            'darkroom_stage_seconds_bucket{stage="storer", le="20"}': "0+1x90",
            'darkroom_stage_seconds_bucket{stage="storer", le="+Inf"}': "0+1x90",
        },
        before="9m",
        after="12m",
        labels={"stage": "storer"},
        summary="One attempt in twenty of storer takes longer than 19.5s",
    ),
    Scene(
        alert="QueueLags",
        seen={
            'darkroom_queue_lag_seconds_bucket{queue="storer", le="60"}': "0x90",
            'darkroom_queue_lag_seconds_bucket{queue="storer", le="300"}': "0+1x90",
            'darkroom_queue_lag_seconds_bucket{queue="storer", le="+Inf"}': "0+1x90",
        },
        before="4m",
        after="7m",
        labels={"queue": "storer"},
        summary="Messages wait for storer for 4m 48s",
    ),
    Scene(
        alert="StartsSlow",
        seen={
            'darkroom_start_seconds_bucket{le="0.5"}': "0x90",
            'darkroom_start_seconds_bucket{le="1"}': "0+1x90",
            'darkroom_start_seconds_bucket{le="+Inf"}': "0+1x90",
        },
        before="4m",
        after="7m",
        summary="One start in a hundred takes longer than 995ms",
    ),
    Scene(
        alert="GatewayErrors",
        seen={
            'darkroom_http_requests_total{route="/api/process", status="202"}': "0+9x90",
            'darkroom_http_requests_total{route="/api/process", status="500"}': "0+1x90",
        },
        before="4m",
        after="7m",
        summary="The gateway answers 10% of the requests with an error of ours",
    ),
    Scene(
        alert="PartAway",
        seen={'darkroom_up{part="database", service="storer"}': "1x3 0x30"},
        before="80s",
        after="120s",
        labels={"part": "database", "service": "storer"},
        summary="storer cannot reach its database",
    ),
    Scene(
        alert="ServiceGone",
        seen=_ALL_UP | {'up{job="darkroom", service="storer", instance="storer:2"}': "1x3 0x30"},
        before="2m",
        after="180s",
        labels={"job": "darkroom", "service": "storer", "instance": "storer:2"},
        summary="storer at storer:2 does not answer",
    ),
    Scene(
        alert="ServiceGone",
        seen={series: values for series, values in _ALL_UP.items() if "analytics" not in series},
        before="1m",
        after="3m",
        labels={"job": "darkroom", "service": "analytics"},
        summary="analytics does not answer",
    ),
)


def as_told_to_promtool(scenes: Iterable[Scene], rules: Mapping[str, Mapping[str, Any]], rule_file: str) -> bytes:
    """Return the scenes as a file for `promtool test rules`; what an alert says besides comes from its rule."""
    tests = []
    for scene in scenes:
        rule = rules[scene.alert]
        expected = [{"eval_time": scene.before, "alertname": scene.alert}]
        if scene.after:
            fires = {
                "exp_labels": {**rule["labels"], **scene.labels},
                "exp_annotations": {**rule["annotations"], "summary": scene.summary},
            }
            expected.append({"eval_time": scene.after, "alertname": scene.alert, "exp_alerts": [fires]})
        series = [{"series": name, "values": values} for name, values in scene.seen.items()]
        tests.append({"interval": "10s", "input_series": series, "alert_rule_test": expected})
    # Whatever reads YAML reads JSON.
    return msgspec.json.encode({"rule_files": [rule_file], "evaluation_interval": "10s", "tests": tests})
