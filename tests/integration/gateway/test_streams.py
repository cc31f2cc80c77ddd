"""A job followed by server-sent events: every version once, whoever drops the connection when."""

import contextlib
import threading
import uuid

import psycopg
import pytest

from shared.database.migrate import migrate
from tests.integration.gateway.gateways import a_gateway, problem
from tests.integration.gateway.runs import Run, a_run, follow

LAST = 10


@contextlib.contextmanager
def live_lines(gateway, run, headers):
    """Follow a run line by line, for as long as the context lasts."""
    with gateway.http.stream("GET", f"/api/status/{run.upload_id}/events", headers=headers) as answer:
        yield answer.iter_lines()


def without_url(events):
    """Leave out the signed URL, which is new each time."""
    return [(number, {**body, "previewUrl": bool(body["previewUrl"])}) for number, body in events]


def test_each_version_is_told_once_and_as_the_status_said_at_the_time(gateway):
    with a_run(gateway) as (run, headers):
        said = [gateway.client.status(str(run.upload_id), headers["X-Session-Token"])]
        for step in run.to_the_end():
            step()
            said.append(gateway.client.status(str(run.upload_id), headers["X-Session-Token"]))
        got = follow(gateway, run, headers)
    assert [number for number, _ in got] == list(range(1, LAST + 1))
    by_version = dict(without_url(got))
    # Version 9 and 10 were one commit, so nobody could see 9 by itself.
    for version, status in zip([2, 3, 4, 5, 6, 7, 8, 10], said, strict=True):
        assert by_version[version] == {**status, "previewUrl": bool(status["previewUrl"])}


def test_changes_come_while_the_run_goes_on_and_the_stream_ends_with_it(gateway):
    with a_run(gateway) as (run, headers):
        got = []
        follower = threading.Thread(target=lambda: got.extend(follow(gateway, run, headers)))
        with gateway.http.stream("GET", f"/api/status/{run.upload_id}/events", headers=headers) as live:
            follower.start()
            lines = live.iter_lines()
            for step in run.to_the_end():
                before = sum(line.startswith("id:") for line in take_until_quiet(lines, run))
                assert before
                step()
            rest = list(lines)
        follower.join(10)
    assert sum(line.startswith("id:") for line in rest) == 2
    assert [number for number, _ in got] == list(range(1, LAST + 1))
    assert got[-1][1]["status"] == "completed"


def take_until_quiet(lines, run):
    """Take lines up to the event of the run's present version."""
    version = len(run._application.history(run.upload_id))
    for line in lines:
        yield line
        if line == f"id: {version}":
            return


@pytest.mark.parametrize("cut", range(LAST + 1))
def test_a_client_cut_off_at_any_event_still_gets_them_all(gateway, cut):
    with a_run(gateway) as (run, headers):
        for step in run.to_the_end():
            step()
        whole = follow(gateway, run, headers)
        first = follow(gateway, run, headers, stop_after=cut) if cut else []
        rest = follow(gateway, run, headers, after=cut)
    assert without_url(first + rest) == without_url(whole)
    assert len(whole) == LAST


def test_whoever_has_the_last_event_of_an_ended_run_is_told_not_to_come_back(gateway):
    with a_run(gateway) as (run, headers):
        for step in run.to_the_end():
            step()
        for last in (LAST, LAST + 5):
            answer = gateway.http.get(
                f"/api/status/{run.upload_id}/events", headers={**headers, "Last-Event-ID": str(last)}
            )
            assert (answer.status_code, answer.content) == (204, b"")


def test_a_failure_ends_the_stream_and_a_retry_goes_on_where_it_ended(gateway):
    with a_run(gateway) as (run, headers):
        run.validated()
        run.failed()
        first = follow(gateway, run, headers)
        assert first[-1][1]["error"] == {"code": "PROVIDER_BUSY", "message": "Busy.", "retryable": True}
        answer = gateway.http.post(f"/api/process/{run.upload_id}/retry", headers=headers)
        assert answer.status_code == 202
        run.attempt = 2
        for step in (run.generated, run.stored, run.completed):
            step()
        rest = follow(gateway, run, headers, after=first[-1][0])
    assert [number for number, _ in first + rest] == list(range(1, 10))
    assert rest[0][1]["attempt"] == 2
    assert rest[0][1]["error"] is None
    progress = [body["progress"] for _, body in first + rest]
    assert progress == sorted(progress)


def test_the_first_thing_said_is_when_to_come_back(gateway):
    with a_run(gateway) as (run, headers):
        run.failed()
        answer = gateway.http.get(f"/api/status/{run.upload_id}/events", headers=headers)
    assert answer.text.startswith("retry: 1000\n\n")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"


def test_a_stranger_gets_no_stream(gateway):
    with a_run(gateway) as (run, _):
        path = f"/api/status/{run.upload_id}/events"
        problem(gateway.http.get(path), 401, "INVALID_SESSION_TOKEN")
        problem(gateway.http.get(path, headers={"X-Session-Token": "x"}), 401, "INVALID_SESSION_TOKEN")
    problem(
        gateway.http.get(f"/api/status/{uuid.uuid4()}/events", headers={"X-Session-Token": "x"}),
        404,
        "UPLOAD_NOT_FOUND",
    )


def test_a_last_event_id_that_is_no_number_is_a_400(gateway):
    with a_run(gateway) as (run, headers):
        answer = gateway.http.get(f"/api/status/{run.upload_id}/events", headers={**headers, "Last-Event-ID": "x"})
    problem(answer, 400, "INVALID_REQUEST")


def test_one_upload_cannot_take_all_streams(gateway):
    with a_run(gateway) as (run, headers):
        path = f"/api/status/{run.upload_id}/events"
        held = []
        with contextlib.ExitStack() as streams:
            for _ in range(32):
                answer = streams.enter_context(gateway.http.stream("GET", path, headers=headers))
                assert answer.status_code == 200
                held.append(answer.iter_lines())
                next(held[-1])
            problem(gateway.http.get(path, headers=headers), 429, "RATE_LIMITED")


def test_a_stream_goes_on_after_the_listening_connection_was_lost(gateway):
    with (
        a_run(gateway) as (run, headers),
        psycopg.connect(gateway.stack.database_url, autocommit=True) as conn,
        live_lines(gateway, run, headers) as lines,
    ):
        assert any(line == "id: 2" for line in lines)
        for step in run.to_the_end():
            [listening] = conn.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'darkroom-changes' AND datname = current_database()"
            ).fetchone()
            assert listening <= 1
            step()
        assert any(line == f"id: {LAST}" for line in lines)


def test_a_stream_survives_a_restart_of_the_database(breakable_postgres, tmp_path):
    url = breakable_postgres.create_database()
    migrate(url)
    with (
        a_gateway(tmp_path, url) as gateway,
        a_run(gateway) as (run, headers),
        live_lines(gateway, run, headers) as lines,
    ):
        assert any(line == "id: 2" for line in lines)
        breakable_postgres.restart()
        with contextlib.closing(Run(url, str(run.upload_id), str(run.workflow_run_id))) as again:
            again.validated()
        assert any(line == "id: 3" for line in lines)


def test_a_gateway_told_to_stop_says_goodbye_to_its_streams(module_database_url, tmp_path):
    with (
        a_gateway(tmp_path, module_database_url) as gateway,
        a_run(gateway) as (run, headers),
        live_lines(gateway, run, headers) as lines,
    ):
        assert any(line == "id: 2" for line in lines)
        # Well before the grace period is over, and with a proper end rather than a broken connection.
        assert gateway.stack.stop("gateway", within=4) == 0
        assert not any(line.startswith("id:") for line in lines)
