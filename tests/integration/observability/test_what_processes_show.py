"""Metrics, health and logs of real processes: after a run, with a poisoned message, and while a part is away."""

import contextlib
import json
import re
import socket

import aio_pika
import httpx
import pytest

from tests import photos
from tests.integration.observability.shown import Shown
from tests.servers import free_port
from tests.stack import Client, Stack, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

EMAIL = "ann.secret@example.com"
STAGES = ("validator", "generator", "storer", "watermarker")


@contextlib.contextmanager
def a_stack(folder, database_url, amqp_url, **env):
    port = free_port()
    with Stack(folder, database_url, amqp_url, {"HEALTH_PORT": str(port), **env}) as stack:
        yield stack, f"http://127.0.0.1:{port}"


def ready(url):
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/health/ready", timeout=5).status_code
    return None


async def publish(amqp_url, queue, body):
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.default_exchange.publish(aio_pika.Message(body, message_id="m", correlation_id="c"), queue)


async def test_a_run_and_a_poisoned_message_are_counted_and_logged_without_a_secret(tmp_path, database_url, amqp_url):
    with a_stack(tmp_path, database_url, amqp_url, LOG_LEVEL="DEBUG") as (stack, _):
        stack.start("all")
        stack.wait_ready(within=90)
        client = Client(stack.url)
        with contextlib.closing(client.http):
            upload, token = client.upload(photos.a_jpeg(), email=EMAIL)
            run = client.start(upload, token).json()["workflowRunId"]
            assert client.start(upload, token).status_code == 409
            assert client.finished(upload, token, within=90)["status"] == "completed"
            client.http.get("/nowhere")
        await publish(amqp_url, "storer", f'{{"type": "Nonsense", "email": "{EMAIL}"}}'.encode())
        eventually(
            lambda: Shown(stack.url)("darkroom_dead_letters", queue="storer") == 1, within=60, or_show=stack.logs
        )
        shown = Shown(stack.url)
        assert stack.stop("all") == 0
        log = (tmp_path / "all.log").read_text()
    for stage in STAGES:
        assert shown("darkroom_stage_outcomes_total", stage=stage, outcome="done") == 1
        assert shown("darkroom_stage_seconds_count", stage=stage) == 1
        assert shown("darkroom_queue_lag_seconds_count", queue=stage) >= 1
    assert shown("darkroom_start_seconds_count") == 1
    assert shown("darkroom_http_requests_total", method="POST", route="/api/process", status="202") == 1
    assert shown("darkroom_http_requests_total", method="POST", route="/api/process", status="409") == 1
    assert shown("darkroom_http_requests_total", route="none", status="404") == 1
    assert shown("darkroom_sends_total", outcome="sent") >= 5
    # Two by the gateway, two by the generator, and one by each of the others.
    assert shown("darkroom_commit_appends_sum") == 7
    assert shown("darkroom_provider_calls_total", provider="local", outcome="ok") == 1
    assert shown("darkroom_provider_cost_usd_total") == 0
    assert shown("darkroom_messages_dead_lettered_total", queue="storer") == 1
    assert shown("darkroom_outbox_overdue_rows") == 0
    assert shown("darkroom_dispatcher_swept_timestamp_seconds") > 1_700_000_000
    assert {each["part"] for each in shown.labels("darkroom_up")} == {"broker", "database", "objects"}
    assert shown("darkroom_up") == 3
    assert not re.search(upload, shown.text)

    lines = [json.loads(line) for line in log.splitlines()]
    done = {line["service"]: line for line in lines if line["event"] == "stage_done"}
    assert set(done) == set(STAGES)
    for line in done.values():
        assert (line["upload_id"], line["workflow_run_id"], line["attempt"]) == (upload, run, 1)
        assert line["stage"]
    (aside,) = [line for line in lines if line["event"] == "message_dead_lettered"]
    assert (aside["service"], aside["message_id"], aside["workflow_run_id"]) == ("storer", "m", "c")
    for secret in (EMAIL, token, "AIza", "session_token"):
        assert secret not in log


def test_a_stage_process_answers_for_itself_and_is_small_while_idle(tmp_path, database_url, amqp_url):
    with a_stack(tmp_path, database_url, amqp_url) as (stack, health):
        stack.start("watermarker")
        eventually(lambda: ready(health) == 200, within=90, or_show=stack.logs)
        shown = Shown(health)
        assert shown("process_resident_memory_bytes") < 90e6
        assert shown("darkroom_breaker_open", stage="watermarker") == 0
        assert stack.stop("watermarker") == 0


def test_a_broker_that_goes_away_is_shown_and_said_once_and_so_is_its_return(tmp_path, database_url, breakable_rabbit):
    amqp_url = breakable_rabbit.create_vhost()
    with a_stack(tmp_path, database_url, amqp_url) as (stack, health):
        stack.start("storer")
        eventually(lambda: ready(health) == 200, within=90, or_show=stack.logs)
        breakable_rabbit.stop()
        eventually(lambda: ready(health) == 503, within=60, or_show=stack.logs)
        assert Shown(health)("darkroom_up", part="broker") == 0
        assert Shown(health)("darkroom_up", part="database") == 1
        assert httpx.get(f"{health}/health/live").status_code == 200
        breakable_rabbit.start()
        eventually(lambda: ready(health) == 200, within=90, or_show=stack.logs)
        assert Shown(health)("darkroom_up", part="broker") == 1
        said = re.findall(r'"event": "(broker_[a-z]+)"', (tmp_path / "storer.log").read_text())
        assert said == ["broker_connected", "broker_disconnected", "broker_connected"]


def test_a_health_port_that_is_taken_ends_the_process_with_a_sentence(tmp_path, database_url, amqp_url):
    with a_stack(tmp_path, database_url, amqp_url) as (stack, health), socket.socket() as taken:
        taken.bind(("127.0.0.1", int(health.rpartition(":")[2])))
        taken.listen()
        stack.start("storer")
        assert stack.processes["storer"].wait(90) == 2
        assert "HEALTH_PORT=" in (tmp_path / "storer.log").read_text()
        assert "Traceback" not in (tmp_path / "storer.log").read_text()
