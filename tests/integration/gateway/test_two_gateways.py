"""Two gateway processes over one database, each with a memory of its own: a reader may ask either, in any order."""

import contextlib
import itertools
import threading
import time
import urllib.parse

import pytest

from services.gateway.jobs.status_cache import KEPT
from tests.integration.gateway.gateways import a_gateway, problem
from tests.integration.gateway.runs import a_run

ROUNDS = 4


@pytest.fixture(scope="module")
def two_gateways(module_database_url, tmp_path_factory):
    with contextlib.ExitStack() as stack:
        folder = tmp_path_factory.mktemp("two")
        env = {"CORS_ORIGINS": "https://a.example"}
        yield [stack.enter_context(a_gateway(folder / name, module_database_url, env=env)) for name in ("one", "two")]


def status(gateway, upload_id, headers):
    answer = gateway.http.get(f"/api/status/{upload_id}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def version(answer):
    return int(answer.headers["ETag"].removeprefix("W/").strip('"'))


def test_what_is_committed_is_what_both_say_from_then_on(two_gateways):
    with a_run(two_gateways[0]) as (run, headers):
        before = [version(status(gateway, run.upload_id, headers)) for gateway in two_gateways]
        for step in run.to_the_end():
            step()
            now = [version(status(gateway, run.upload_id, headers)) for gateway in two_gateways * 2]
            assert len(set(now)) == 1
            assert now[0] > before[0]
            before = now


def test_a_reader_never_sees_an_older_state_after_a_newer_one(two_gateways):
    """While events come in, readers go from one gateway to the other as fast as they are answered."""
    for _ in range(ROUNDS):
        with a_run(two_gateways[0]) as (run, headers):
            done = threading.Event()
            seen = [[] for _ in range(4)]

            def read(versions, start, run=run, headers=headers, done=done):
                for gateway in itertools.islice(itertools.cycle(two_gateways), start, None):
                    versions.append(version(status(gateway, run.upload_id, headers)))
                    if done.is_set():
                        return

            readers = [threading.Thread(target=read, args=(each, nth)) for nth, each in enumerate(seen)]
            for reader in readers:
                reader.start()
            for step in run.to_the_end():
                step()
            done.set()
            for reader in readers:
                reader.join()
            assert all(versions and versions == sorted(versions) for versions in seen)


def test_a_start_at_one_is_seen_at_the_other_at_once(two_gateways):
    for one, other in (two_gateways, two_gateways[::-1]):
        for _ in range(ROUNDS):
            upload_id, token = one.upload()
            headers = {"X-Session-Token": token}
            for gateway in two_gateways:
                assert status(gateway, upload_id, headers).json()["status"] == "pending"
            run = one.client.start(upload_id, token).json()["workflowRunId"]
            said = status(other, upload_id, headers).json()
            assert (said["status"], said["workflowRunId"]) == ("processing", run)


def test_an_answer_from_memory_is_the_same_but_for_its_request_id(two_gateways):
    with a_run(two_gateways[0]) as (run, headers):
        for step in run.to_the_end():
            step()
        first, again = (status(two_gateways[0], run.upload_id, headers) for _ in range(2))
    assert first.content == again.content
    assert "previewUrl" in first.json()
    assert first.headers.pop("X-Request-Id") != again.headers.pop("X-Request-Id")
    assert {**first.headers, "date": ""} == {**again.headers, "date": ""}
    assert again.headers["Cache-Control"] == "no-store"


def test_memory_serves_the_owner_only(two_gateways):
    gateway = two_gateways[0]
    with a_run(gateway) as (run, headers):
        for _ in range(2):
            status(gateway, run.upload_id, headers)
        path = f"/api/status/{run.upload_id}"
        problem(gateway.http.get(path, headers={"X-Session-Token": "x"}), 401, "INVALID_SESSION_TOKEN")
        problem(gateway.http.get(path), 401, "INVALID_SESSION_TOKEN")


def test_each_origin_gets_its_own_headers(two_gateways):
    gateway = two_gateways[0]
    with a_run(gateway) as (run, headers):
        for origin in ("https://a.example", "https://b.example", None) * 2:
            sent = headers | ({"Origin": origin} if origin else {})
            allowed = status(gateway, run.upload_id, sent).headers.get("Access-Control-Allow-Origin")
            assert allowed == (origin if origin == "https://a.example" else None)


def test_head_is_answered_from_memory_too(two_gateways):
    gateway = two_gateways[0]
    with a_run(gateway) as (run, headers):
        whole = status(gateway, run.upload_id, headers)
        head = gateway.http.head(f"/api/status/{run.upload_id}", headers=headers)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]


def test_a_preview_url_has_a_quarter_of_an_hour_left_whenever_it_is_given(two_gateways):
    gateway = two_gateways[0]
    with a_run(gateway) as (run, headers):
        for step in run.to_the_end():
            step()
        url = urllib.parse.urlsplit(status(gateway, run.upload_id, headers).json()["previewUrl"])
        expires = int(urllib.parse.parse_qs(url.query)["expires"][0])
    assert expires - time.time() >= 15 * 60 + KEPT - 5
