"""Where a job stands, asked for at once or as soon as it changes; and its retry."""

import contextlib
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from services.gateway.jobs.waiters import WAITERS_AT_ONE
from tests.integration.gateway.gateways import problem
from tests.integration.gateway.runs import a_run

LONG = 25


@contextlib.contextmanager
def polling(gateway, run, headers, tag, wait=LONG):
    """Poll in the background; return a function that waits for the answer."""
    answers = []
    path = f"/api/status/{run.upload_id}?wait={wait}"
    thread = threading.Thread(
        target=lambda: answers.append(gateway.http.get(path, headers={**headers, "If-None-Match": tag}))
    )

    def answer():
        thread.join(LONG + 5)
        return answers[0]

    thread.start()
    yield answer
    thread.join(LONG + 5)


def tag_of(gateway, run, headers):
    return gateway.http.get(f"/api/status/{run.upload_id}", headers=headers).headers["ETag"]


def test_the_tag_changes_with_every_event(gateway):
    with a_run(gateway) as (run, headers):
        tags = [tag_of(gateway, run, headers)]
        for step in run.to_the_end():
            step()
            tags.append(tag_of(gateway, run, headers))
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', "{}, W/{}", "*"])
def test_what_is_known_already_is_a_304_however_the_header_is_written(gateway, form):
    with a_run(gateway) as (run, headers):
        tag = tag_of(gateway, run, headers).removeprefix("W/")
        sent = {**headers, "If-None-Match": form.format(tag, tag)}
        answer = gateway.http.get(f"/api/status/{run.upload_id}", headers=sent)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"].removeprefix("W/") == tag


def test_another_tag_is_no_304(gateway):
    with a_run(gateway) as (run, headers):
        tag = tag_of(gateway, run, headers)
        for other in ('"99"', tag.replace('"', '"1', 1), ""):
            sent = {**headers, "If-None-Match": other}
            assert gateway.http.get(f"/api/status/{run.upload_id}", headers=sent).status_code == 200


def test_a_long_poll_answers_as_soon_as_the_job_changes(gateway):
    with a_run(gateway) as (run, headers):
        tag = tag_of(gateway, run, headers)
        began = time.monotonic()
        with polling(gateway, run, headers, tag) as answer:
            run.validated()
            got = answer()
        assert time.monotonic() - began < LONG - 5
    assert got.status_code == 200
    assert got.json()["stage"] == "generating"
    assert got.headers["ETag"] != tag


def test_a_long_poll_without_a_change_is_a_304_when_its_time_is_over(gateway):
    with a_run(gateway) as (run, headers):
        tag = tag_of(gateway, run, headers)
        with polling(gateway, run, headers, tag, wait=0.3) as answer:
            got = answer()
    assert (got.status_code, got.headers["ETag"]) == (304, tag)


def test_one_upload_has_only_so_many_long_polls(gateway):
    with a_run(gateway) as (run, headers), ThreadPoolExecutor(WAITERS_AT_ONE + 8) as pool:
        sent = {**headers, "If-None-Match": tag_of(gateway, run, headers)}
        path = f"/api/status/{run.upload_id}?wait=3"
        answers = list(
            pool.map(lambda _: httpx.get(gateway.url + path, headers=sent, timeout=30), range(WAITERS_AT_ONE + 8))
        )
    codes = Counter(answer.status_code for answer in answers)
    assert codes == {304: WAITERS_AT_ONE, 429: 8}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(problem(refused, 429, "RATE_LIMITED")["status"]) == 429
    assert "Retry-After" in refused.headers


def test_a_long_poll_for_what_has_changed_already_does_not_wait(gateway):
    with a_run(gateway) as (run, headers):
        tag = tag_of(gateway, run, headers)
        run.validated()
        got = gateway.http.get(
            f"/api/status/{run.upload_id}?wait={LONG}", headers={**headers, "If-None-Match": tag}, timeout=5
        )
        assert got.status_code == 200
        got = gateway.http.get(f"/api/status/{run.upload_id}?wait={LONG}", headers=headers, timeout=5)
        assert got.status_code == 200


@pytest.mark.parametrize("wait", ["-1", "25.1", "x", "nan", "inf"])
def test_a_wait_out_of_bounds_is_a_400_that_names_it(gateway, wait):
    with a_run(gateway) as (run, headers):
        answer = gateway.http.get(f"/api/status/{run.upload_id}?wait={wait}", headers=headers)
    assert "wait" in problem(answer, 400, "INVALID_REQUEST")["detail"]


@pytest.mark.parametrize("job", ["x", str(uuid.UUID(int=0)), "%00", "../../etc/passwd", "x" * 500])
def test_what_is_no_job_is_a_404(gateway, job):
    assert gateway.http.get(f"/api/status/{job}", headers={"X-Session-Token": "x"}).status_code == 404


def test_a_status_is_its_owners_only(gateway):
    with a_run(gateway) as (run, _):
        problem(gateway.http.get(f"/api/status/{run.upload_id}"), 401, "INVALID_SESSION_TOKEN")
        answer = gateway.http.get(f"/api/status/{run.upload_id}", headers={"X-Session-Token": "é".encode("latin-1")})
        problem(answer, 401, "INVALID_SESSION_TOKEN")


def test_a_result_is_there_once_the_job_is_done_and_its_owners_only(gateway):
    with a_run(gateway) as (run, headers):
        steps = run.to_the_end()
        for step in steps[:-1]:
            step()
        problem(gateway.http.get(f"/api/results/{run.result_id}", headers=headers), 404, "RESULT_NOT_FOUND")
        steps[-1]()
        result = gateway.http.get(f"/api/results/{run.result_id}", headers=headers).json()
        assert (result["jobId"], result["width"], result["height"]) == (str(run.upload_id), 320, 240)
        assert "signature=" in result["previewUrl"]
        wrong = gateway.http.get(f"/api/results/{run.result_id}", headers={"X-Session-Token": "x"})
        problem(wrong, 401, "INVALID_SESSION_TOKEN")
        problem(gateway.http.get(f"/api/results/{run.result_id}"), 401, "INVALID_SESSION_TOKEN")


def test_a_failure_that_may_pass_is_retried_as_the_next_attempt_of_the_same_run(gateway):
    with a_run(gateway) as (run, headers):
        run.validated()
        run.failed()
        answer = gateway.http.post(f"/api/process/{run.upload_id}/retry", headers=headers)
        assert answer.status_code == 202
        assert answer.json() == {
            "success": True,
            "jobId": str(run.upload_id),
            "status": "processing",
            "workflowRunId": str(run.workflow_run_id),
        }
        status = gateway.client.status(str(run.upload_id), headers["X-Session-Token"])
        assert (status["status"], status["stage"], status["attempt"]) == ("processing", "generating", 2)
        again = gateway.http.post(f"/api/process/{run.upload_id}/retry", headers=headers)
        assert problem(again, 409, "NOT_RETRYABLE")["currentStatus"] == "processing"


def test_a_final_failure_is_not_retried(gateway):
    with a_run(gateway) as (run, headers):
        run.failed(retryable=False)
        answer = gateway.http.post(f"/api/process/{run.upload_id}/retry", headers=headers)
    assert problem(answer, 409, "NOT_RETRYABLE")["currentStatus"] == "failed"


def test_what_never_ran_or_ended_well_is_not_retried(gateway):
    upload_id, token = gateway.upload()
    answer = gateway.http.post(f"/api/process/{upload_id}/retry", headers={"X-Session-Token": token})
    assert problem(answer, 409, "NOT_RETRYABLE")["currentStatus"] == "pending"
    with a_run(gateway) as (run, headers):
        for step in run.to_the_end():
            step()
        answer = gateway.http.post(f"/api/process/{run.upload_id}/retry", headers=headers)
        assert problem(answer, 409, "NOT_RETRYABLE")["currentStatus"] == "completed"


def test_a_retry_is_its_owners_only(gateway):
    with a_run(gateway) as (run, _):
        run.failed()
        path = f"/api/process/{run.upload_id}/retry"
        problem(gateway.http.post(path), 401, "INVALID_SESSION_TOKEN")
        problem(gateway.http.post(path, headers={"X-Session-Token": "x"}), 401, "INVALID_SESSION_TOKEN")
        unknown = gateway.http.post(f"/api/process/{uuid.uuid4()}/retry", headers={"X-Session-Token": "x"})
        problem(unknown, 404, "UPLOAD_NOT_FOUND")
        with psycopg.connect(gateway.stack.database_url) as conn:
            count = "SELECT count(*) FROM upload_events WHERE originator_id = %s AND topic = 'ReplayRequested'"
            assert conn.execute(count, (run.upload_id,)).fetchone() == (0,)
