"""RabbitMQ, PostgreSQL or the AI provider away for a while: nothing is lost, and nobody has to restart anything.

`OUTAGE_SECONDS` sets how long (6 unless set; the README's figures are for 300).
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest

from shared.database.migrate import migrate
from tests.gemini_server import Gemini, serving_in_thread
from tests.photos import a_jpeg
from tests.servers import PostgresServer, RabbitServer
from tests.stack import SERVICES, Client, Stack

OUTAGE = float(os.environ.get("OUTAGE_SECONDS", "6"))
AFTERWARDS = 120.0
"""Seconds within which everything has ended once the part is back."""

pytestmark = pytest.mark.timeout(OUTAGE + AFTERWARDS + 180)


@pytest.fixture
def gemini() -> Iterator[Gemini]:
    with serving_in_thread("slow:0.2") as server:
        yield server


@pytest.fixture
def stack(
    tmp_path: Path, breakable_postgres: PostgresServer, breakable_rabbit: RabbitServer, gemini: Gemini
) -> Iterator[Stack]:
    database_url, amqp_url = breakable_postgres.create_database(), breakable_rabbit.create_vhost()
    migrate(database_url)
    env = {"GENERATOR": "gemini", "GEMINI_API_KEY": "test", "GEMINI_BASE_URL": gemini.url, "GENERATOR_TIMEOUT": "5"}
    with Stack(tmp_path, database_url, amqp_url, env) as running:
        running.start_all()
        yield running
    breakable_postgres.ensure_up()
    breakable_rabbit.ensure_up()
    breakable_postgres.drop_database(database_url)
    breakable_rabbit.delete_vhost(amqp_url)


class People:
    """Upload and start one photo after another, in a thread, until told to stop; refusals are tried again."""

    def __init__(self, client: Client) -> None:
        self.accepted: list[tuple[str, str]] = []
        self.answers: list[int] = []
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._come)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _come(self) -> None:
        photo = a_jpeg(64, 64)
        while not self._stop.wait(0.2):
            try:
                upload_id, token = self._client.upload(photo)
                answer = self._client.start(upload_id, token)
            except (AssertionError, httpx.TransportError):
                continue
            self.answers.append(answer.status_code)
            if answer.status_code == 202:
                self.accepted.append((upload_id, token))


def gets_over(stack: Stack, away: Callable[[], None], back: Callable[[], None]) -> People:
    """Have people come before, during and after an outage; check that all who were accepted end, with no restart."""
    before = {name: process.pid for name, process in stack.processes.items()}
    client = stack.client()
    with People(client) as people:
        time.sleep(2)
        away()
        time.sleep(OUTAGE)
        back()
        time.sleep(5)
    ends = [client.finished(upload_id, token, within=AFTERWARDS) for upload_id, token in people.accepted]

    assert [end["status"] for end in ends] == ["completed"] * len(ends), stack.logs()
    assert {name: process.pid for name, process in stack.processes.items() if process.poll() is None} == before
    return people


@pytest.mark.parametrize("way", ["stop", "crash"])
def test_rabbitmq_away_keeps_nobody_from_starting_loses_nothing_and_is_said_once(
    way: str, stack: Stack, breakable_rabbit: RabbitServer
) -> None:
    people = gets_over(stack, getattr(breakable_rabbit, way), breakable_rabbit.start)

    assert set(people.answers) == {202}
    assert len(people.accepted) > OUTAGE / 2
    for name in SERVICES:
        log = (stack.folder / f"{name}.log").read_text()
        assert log.count('"broker_disconnected"') == 1, log[-2000:]
        assert log.count('"broker_connected"') == 2, log[-2000:]


@pytest.mark.parametrize("way", ["stop", "crash"])
def test_postgres_away_refuses_starts_and_loses_none_that_was_accepted(
    way: str, stack: Stack, breakable_postgres: PostgresServer
) -> None:
    people = gets_over(stack, getattr(breakable_postgres, way), breakable_postgres.start)

    assert len(people.accepted) > 2


def test_a_frozen_postgres_is_waited_for(stack: Stack, breakable_postgres: PostgresServer) -> None:
    people = gets_over(stack, breakable_postgres.pause, breakable_postgres.resume)

    assert len(people.accepted) > 2


def test_the_provider_away_opens_the_breaker_instead_of_burning_attempts(stack: Stack, gemini: Gemini) -> None:
    def away() -> None:
        gemini.use("503")

    def back() -> None:
        gemini.use("slow:0.2")

    people = gets_over(stack, away, back)

    assert len(people.accepted) > OUTAGE / 2
    assert "breaker_opened" in (stack.folder / "generator.log").read_text()
