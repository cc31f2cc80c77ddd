"""The generator is killed at every await point: the run completes, with a second call only where it must be."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from contracts.events import GenerationStarted, ImageGenerated
from tests.chaos.invariants import streams
from tests.gemini_server import Gemini, serving_in_thread
from tests.photos import a_jpeg
from tests.recovery.mortal import INSIDE_THE_CALL, POINTS
from tests.servers import PostgresServer, RabbitServer
from tests.stack import Stack, eventually

LEASE = 5.6
"""Seconds, from GENERATOR_TIMEOUT below."""
TAKEN_UP = 30
"""Seconds after the lease within which a run whose worker vanished goes on."""


@pytest.fixture(scope="module")
def gemini() -> Iterator[Gemini]:
    with serving_in_thread("slow:1") as server:
        yield server


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,
    template_database: str,
    rabbit: RabbitServer,
    gemini: Gemini,
) -> Iterator[Stack]:
    """All services but the generator."""
    env = {
        "GENERATOR": "gemini",
        "GEMINI_API_KEY": "test",
        "GEMINI_BASE_URL": gemini.url,
        "GENERATOR_TIMEOUT": "3",
    }
    database_url, amqp_url = postgres.create_database(template=template_database), rabbit.create_vhost()
    folder: Path = tmp_path_factory.mktemp("pay-once")
    with Stack(folder, database_url, amqp_url, env) as running:
        running.start("gateway", "validator", "storer", "watermarker", "dispatcher")
        running.wait_ready(within=60)
        yield running
    postgres.drop_database(database_url)
    rabbit.delete_vhost(amqp_url)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", POINTS)
def test_a_generator_killed_there_costs_a_call_only_where_it_died_inside_one(
    point: str, stack: Stack, gemini: Gemini
) -> None:
    gemini.reset("slow:1")
    client = stack.client()
    upload_id, token = client.upload(a_jpeg())
    mortal = subprocess.Popen([sys.executable, "-m", "tests.recovery.mortal", point], env=stack.env)
    assert client.start(upload_id, token).status_code == 202
    if point == "in the call":
        eventually(lambda: gemini.begun == 1, within=60, every=0.01)
        mortal.kill()
    assert mortal.wait(60) == -9

    stack.start("generator")
    status = client.finished(upload_id, token, within=LEASE + TAKEN_UP)
    stack.kill("generator")

    assert status["status"] == "completed", status
    events = streams(stack.database_url)[UUID(upload_id)]
    assert [event.version for event in events] == list(range(1, len(events) + 1))
    assert sum(isinstance(event, ImageGenerated) for event in events) == 1
    assert gemini.begun == (2 if point in INSIDE_THE_CALL else 1)
    assert gemini.begun <= sum(isinstance(event, GenerationStarted) for event in events)
