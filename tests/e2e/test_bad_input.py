"""What nobody should send: the right code, a problem that says so, and nothing left behind."""

import uuid

import pytest

from tests.e2e.product import count, history, objects
from tests.photos import (
    a_decompression_bomb,
    a_gif,
    a_jpeg,
    a_png_with_an_empty_header,
    an_svg,
)
from tests.stack import eventually

pytestmark = pytest.mark.slow

EMAIL = {"email": "ann@example.com"}
TRUNCATED_HEADER = a_jpeg(640, 480)[:20]
OVER_THE_LIMIT = a_jpeg(160, 120) + bytes(50 * 2**20)


def file(body, name="photo.jpg", content_type="image/jpeg"):
    return {"files": {"image": (name, body, content_type)}, "data": EMAIL}


UPLOADS = {
    "no file": ({"data": EMAIL, "files": {"other": ("a", b"b")}}, 400, "INVALID_REQUEST"),
    "no e-mail": ({"files": {"image": ("photo.jpg", a_jpeg())}}, 400, "INVALID_REQUEST"),
    "e-mail with a NUL": ({**file(a_jpeg()), "data": {"email": "ann\0@example.com"}}, 400, "INVALID_REQUEST"),
    "e-mail with a newline": ({**file(a_jpeg()), "data": {"email": "a@b.c\nBcc: d@e.f"}}, 400, "INVALID_REQUEST"),
    "empty file": (file(b""), 400, "INVALID_REQUEST"),
    "text named .jpg": (file(b"not a picture at all " * 50), 415, "UNSUPPORTED_IMAGE"),
    "SVG": (file(an_svg(), "a.svg", "image/svg+xml"), 415, "UNSUPPORTED_IMAGE"),
    "SVG that claims to be a PNG": (file(an_svg(), "a.png", "image/png"), 415, "UNSUPPORTED_IMAGE"),
    "GIF": (file(a_gif(), "a.gif", "image/gif"), 415, "UNSUPPORTED_IMAGE"),
    "100 megapixels": (file(a_decompression_bomb(), "a.png", "image/png"), 413, "IMAGE_TOO_LARGE"),
    "PNG with an empty header": (file(a_png_with_an_empty_header(), "a.png", "image/png"), 400, "IMAGE_CORRUPT"),
    "JPEG cut off in its header": (file(TRUNCATED_HEADER), 400, "IMAGE_CORRUPT"),
    "too small": (file(a_jpeg(63, 200)), 400, "IMAGE_TOO_SMALL"),
    "over the limit": (file(OVER_THE_LIMIT), 413, "IMAGE_TOO_LARGE"),
    "wrong content type": ({"content": b"{}", "headers": {"Content-Type": "application/json"}}, 415, None),
    "form without its end": (
        {"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        400,
        "INVALID_REQUEST",
    ),
}


def as_problem(answer, status, code):
    """Check an answer to be the problem that was expected, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["success"] is False
    assert problem["requestId"] == answer.headers["X-Request-Id"] != ""
    assert problem["status"] == status
    assert code is None or problem["code"] == code
    return problem


def footprint(stack):
    """Count and name everything that a request could leave behind, once nothing of earlier runs is on its way."""
    eventually(lambda: count(stack.database_url, "outbox") == 0, within=30)
    tables = {table: count(stack.database_url, table) for table in ("upload_events", "uploads", "outbox")}
    return tables, objects(stack), sorted((stack.folder / "tmp").iterdir())


@pytest.mark.parametrize("name", UPLOADS)
def test_a_bad_upload_is_refused_for_what_it_is_and_leaves_nothing_behind(stack, client, name):
    request, status, code = UPLOADS[name]
    before = footprint(stack)

    answer = client.http.post("/api/uploads", **request)

    as_problem(answer, status, code)
    assert footprint(stack) == before


@pytest.fixture
def job(client):
    return client.upload(a_jpeg(160, 120))


STARTS = {
    "malformed JSON": (b'{"uploadId": ', 400, "INVALID_REQUEST"),
    "no JSON": (b"", 400, "INVALID_REQUEST"),
    "a list": (b"[]", 400, "INVALID_REQUEST"),
    "no id": (b"{}", 400, "INVALID_REQUEST"),
    "an id that is none": (b'{"uploadId": "1; DROP TABLE uploads"}', 400, "INVALID_REQUEST"),
    "a number": (b'{"uploadId": 7}', 400, "INVALID_REQUEST"),
    "bytes that are no text": (b'{"uploadId": "\xff\xfe"}', 400, "INVALID_REQUEST"),
    "nested without end": (b"[" * 50_000, 400, "INVALID_REQUEST"),
    "an unknown id": (b'{"uploadId": "%s"}' % str(uuid.uuid4()).encode(), 404, "UPLOAD_NOT_FOUND"),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_start_that_cannot_be_understood_is_refused_and_leaves_nothing_behind(stack, client, job, name):
    body, status, code = STARTS[name]
    before = footprint(stack)

    answer = client.http.post(
        "/api/process", content=body, headers={"X-Session-Token": job[1], "Content-Type": "application/json"}
    )

    as_problem(answer, status, code)
    assert footprint(stack) == before


@pytest.mark.parametrize(
    "token", [None, "", "wrong", "é".encode(), "x" * 5000], ids=["none", "empty", "wrong", "é", "long"]
)
def test_without_its_token_an_upload_cannot_be_started_seen_or_retried(stack, client, job, token):
    headers = {} if token is None else {"X-Session-Token": token}
    upload_id, _ = job
    before = footprint(stack)

    answers = [
        client.http.post("/api/process", json={"uploadId": upload_id}, headers=headers),
        client.http.get(f"/api/status/{upload_id}", headers=headers),
        client.http.post(f"/api/process/{upload_id}/retry", headers=headers),
    ]

    for answer in answers:
        as_problem(answer, 401, "INVALID_SESSION_TOKEN")
    assert footprint(stack) == before


def test_another_uploads_token_opens_nothing(client, job):
    _, other_token = client.upload(a_jpeg(160, 120))

    as_problem(client.start(job[0], other_token), 401, "INVALID_SESSION_TOKEN")


def test_without_a_token_nobody_learns_which_uploads_exist(client, job):
    for upload_id in (job[0], str(uuid.uuid4())):
        as_problem(client.http.get(f"/api/status/{upload_id}"), 401, "INVALID_SESSION_TOKEN")


def test_a_run_that_did_not_fail_is_not_retried(client, job):
    answer = client.http.post(f"/api/process/{job[0]}/retry", headers={"X-Session-Token": job[1]})

    as_problem(answer, 409, "NOT_RETRYABLE")


@pytest.mark.timeout(120)
def test_a_photo_cut_off_in_the_middle_ends_as_failed_at_validating_and_is_not_retried(stack, client):
    photo = a_jpeg(1200, 900)
    upload_id, token = client.upload(photo[: len(photo) // 2])
    assert client.start(upload_id, token).status_code == 202

    status = client.finished(upload_id, token)

    assert (status["status"], status["stage"]) == ("failed", "validating")
    assert (status["error"]["code"], status["error"]["retryable"]) == ("IMAGE_CORRUPT", False)
    kinds = [type(event).__name__ for event in history(stack.database_url, upload_id)]
    assert kinds == ["UploadRegistered", "ProcessingRequested", "ProcessingFailed"]
    as_problem(
        client.http.post(f"/api/process/{upload_id}/retry", headers={"X-Session-Token": token}), 409, "NOT_RETRYABLE"
    )
