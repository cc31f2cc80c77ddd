"""What was asked of "process this upload", criterion by criterion, against real gateways."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from shared.database.migrate import migrate
from tests.integration.gateway.gateways import a_gateway, problem
from tests.stack import eventually


def events(gateway, upload_id):
    with psycopg.connect(gateway.stack.database_url) as conn:
        rows = conn.execute(
            "SELECT topic FROM upload_events WHERE originator_id = %s ORDER BY originator_version", (upload_id,)
        )
        return [topic for (topic,) in rows]


def row(gateway, upload_id, columns):
    with psycopg.connect(gateway.stack.database_url) as conn:
        return conn.execute(f"SELECT {columns} FROM uploads WHERE id = %s", (upload_id,)).fetchone()  # noqa: S608


def test_the_call_creates_the_run(gateway):
    upload_id, token = gateway.upload()
    answer = gateway.client.start(upload_id, token)
    assert answer.status_code == 202
    assert events(gateway, upload_id) == ["UploadRegistered", "ProcessingRequested"]


def test_the_answer_names_the_job_by_the_upload_and_the_run_by_its_own_id(gateway):
    upload_id, token = gateway.upload()
    body = gateway.client.start(upload_id, token).json()
    assert set(body) == {"success", "jobId", "status", "workflowRunId"}
    assert (body["success"], body["jobId"], body["status"]) == (True, upload_id, "processing")
    assert uuid.UUID(body["workflowRunId"]) != uuid.UUID(upload_id)


def test_the_run_is_stored_with_the_upload(gateway):
    upload_id, token = gateway.upload()
    run = gateway.client.start(upload_id, token).json()["workflowRunId"]
    assert row(gateway, upload_id, "workflow_run_id::text") == (run,)


def test_the_upload_is_processing_as_soon_as_the_answer_is_there(gateway):
    upload_id, token = gateway.upload()
    assert gateway.client.status(upload_id, token)["status"] == "pending"
    gateway.client.start(upload_id, token)
    assert row(gateway, upload_id, "status") == ("processing",)
    assert gateway.client.status(upload_id, token)["status"] == "processing"


def test_the_answer_waits_for_neither_the_work_nor_the_broker(gateway):
    """No stage and no broker runs here: nothing that the answer could have waited for ever came."""
    upload_id, token = gateway.upload()
    began = time.monotonic()
    assert gateway.client.start(upload_id, token).status_code == 202
    assert time.monotonic() - began < 2
    assert gateway.http.get("/health/ready").json()["broker"] == "away"
    assert events(gateway, upload_id)[-1] == "ProcessingRequested"


def test_without_a_session_token_it_is_a_401(gateway):
    upload_id, _ = gateway.upload()
    problem(gateway.http.post("/api/process", json={"uploadId": upload_id}), 401, "INVALID_SESSION_TOKEN")
    problem(gateway.client.start(upload_id, ""), 401, "INVALID_SESSION_TOKEN")


def test_with_another_uploads_token_it_is_a_401(gateway):
    upload_id, _ = gateway.upload()
    _, other = gateway.upload()
    problem(gateway.client.start(upload_id, other), 401, "INVALID_SESSION_TOKEN")
    assert events(gateway, upload_id) == ["UploadRegistered"]


def test_an_unknown_upload_is_a_404(gateway):
    problem(gateway.client.start(str(uuid.uuid4()), "some token"), 404, "UPLOAD_NOT_FOUND")


def test_an_upload_that_is_processing_is_a_409_that_says_so(gateway):
    upload_id, token = gateway.upload()
    run = gateway.client.start(upload_id, token).json()["workflowRunId"]
    body = problem(gateway.client.start(upload_id, token), 409, "ALREADY_PROCESSING")
    assert (body["currentStatus"], body["workflowRunId"]) == ("processing", run)


def test_an_upload_that_is_completed_is_a_409_that_says_so(gateway):
    upload_id, token = gateway.upload()
    run = gateway.client.start(upload_id, token).json()["workflowRunId"]
    with psycopg.connect(gateway.stack.database_url) as conn:
        conn.execute("UPDATE uploads SET status = 'completed', stage = 'complete' WHERE id = %s", (upload_id,))
    body = problem(gateway.client.start(upload_id, token), 409, "ALREADY_PROCESSING")
    assert (body["currentStatus"], body["workflowRunId"]) == ("completed", run)


def test_the_checks_come_in_their_order(gateway):
    upload_id, token = gateway.upload()
    gateway.client.start(upload_id, token)
    unknown = str(uuid.uuid4())
    problem(gateway.client.start(unknown, ""), 401, "INVALID_SESSION_TOKEN")
    problem(gateway.client.start(unknown, token), 404, "UPLOAD_NOT_FOUND")
    problem(gateway.client.start(upload_id, "wrong"), 401, "INVALID_SESSION_TOKEN")
    problem(gateway.client.start(upload_id, token), 409, "ALREADY_PROCESSING")


def test_of_many_starts_at_one_moment_one_wins(gateway):
    upload_id, token = gateway.upload()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: gateway.client.start(upload_id, token), range(16)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 15
    assert events(gateway, upload_id) == ["UploadRegistered", "ProcessingRequested"]


def test_a_token_is_stored_as_its_digest_only(gateway):
    upload_id, token = gateway.upload()
    gateway.client.start(upload_id, token)
    dump = []
    with psycopg.connect(gateway.stack.database_url) as conn:
        for table in ("uploads", "upload_events", "outbox", "pending_uploads"):
            dump += [repr(line) for line in conn.execute(f"SELECT * FROM {table}").fetchall()]  # noqa: S608
        states = conn.execute("SELECT state FROM upload_events").fetchall()
    assert any(upload_id in line for line in dump)
    assert token not in "".join(dump) + "".join(bytes(state).decode() for (state,) in states)
    assert row(gateway, upload_id, "length(session_token_digest)") == (64,)


def test_neither_token_nor_address_is_logged(gateway):
    upload_id, token = gateway.upload()
    gateway.client.start(upload_id, token)
    gateway.client.start(upload_id, token + "x")
    gateway.client.status(upload_id, token)
    assert token not in gateway.log()
    assert "ann@example.com" not in gateway.log()


@pytest.fixture
def on_breakable(breakable_postgres, tmp_path):
    """A gateway on a database that may be broken."""
    url = breakable_postgres.create_database()
    migrate(url)
    with a_gateway(tmp_path, url) as running:
        yield running, breakable_postgres


def test_with_the_database_down_it_is_a_500_to_repeat_and_nothing_is_half_done(on_breakable):
    gateway, postgres = on_breakable
    upload_id, token = gateway.upload()
    postgres.stop()
    began = time.monotonic()
    answer = gateway.client.start(upload_id, token)
    assert time.monotonic() - began < 2
    problem(answer, 500, "WORKFLOW_TRIGGER_FAILED")
    assert int(answer.headers["Retry-After"]) > 0
    postgres.start()
    assert events(gateway, upload_id) == ["UploadRegistered"]
    assert row(gateway, upload_id, "status, workflow_run_id") == ("pending", None)
    # A start may be written although its own answer was lost on the way from a database that is just coming up.
    eventually(lambda: gateway.client.start(upload_id, token).status_code in {202, 409}, within=20, or_show=gateway.log)
    assert events(gateway, upload_id) == ["UploadRegistered", "ProcessingRequested"]


def test_with_the_database_frozen_it_is_a_500_within_two_seconds(on_breakable):
    gateway, postgres = on_breakable
    upload_id, token = gateway.upload()
    postgres.pause()
    try:
        began = time.monotonic()
        answer = gateway.client.start(upload_id, token)
        taken = time.monotonic() - began
    finally:
        postgres.resume()
    problem(answer, 500, "WORKFLOW_TRIGGER_FAILED")
    assert taken < 2


def test_a_restart_of_the_database_costs_no_start(on_breakable):
    gateway, postgres = on_breakable
    uploads = [gateway.upload() for _ in range(4)]
    postgres.restart()
    assert [gateway.client.start(*upload).status_code for upload in uploads] == [202] * 4


def test_with_the_database_down_a_status_is_a_503_to_repeat(on_breakable):
    gateway, postgres = on_breakable
    upload_id, token = gateway.upload()
    postgres.stop()
    answer = gateway.http.get(f"/api/status/{upload_id}", headers={"X-Session-Token": token})
    problem(answer, 503, "UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0
    assert "psycopg" not in answer.text
    assert "127.0.0.1" not in answer.text
