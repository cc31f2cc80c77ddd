"""What holds for every answer: codes, problem bodies, ids, headers, methods."""

import uuid

import pytest

from tests.integration.gateway.gateways import PHOTO, problem

NOBODY = str(uuid.uuid4())


@pytest.mark.parametrize("path", ["/", "/api/nothing", "/health/live", "/schema", "/objects/no", "/api/status/x"])
def test_every_answer_has_the_security_headers(gateway, path):
    answer = gateway.http.get(path)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "camera=()" in answer.headers["Permissions-Policy"]
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "Strict-Transport-Security" not in answer.headers
    assert answer.headers["X-Request-Id"]


def test_what_no_route_answers_is_a_problem(gateway):
    body = problem(gateway.http.get("/api/nothing"), 404, "NOT_FOUND")
    assert set(body) == {"type", "title", "status", "code", "detail", "requestId", "success"}


def test_a_wrong_method_is_a_problem_that_names_the_right_ones(gateway):
    answer = gateway.http.delete("/api/process")
    problem(answer, 405, "METHOD_NOT_ALLOWED")
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("sent", ["my-request-1", "A1_b2", "x" * 64])
def test_a_sane_request_id_comes_back(gateway, sent):
    assert gateway.http.get("/health/live", headers={"X-Request-Id": sent}).headers["X-Request-Id"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "a\tb", "é", "a;b", "--", '{"a":1}'])
def test_a_request_id_unfit_for_a_log_is_replaced(gateway, sent):
    got = gateway.http.get("/health/live", headers=[(b"X-Request-Id", sent.encode("latin-1"))]).headers["X-Request-Id"]
    assert uuid.UUID(got)


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'{"uploadId": 1}', b"{}", b"\xff", b"[" * 30_000])
def test_a_body_that_is_not_what_was_asked_for_is_a_400(gateway, body):
    headers = {"X-Session-Token": "x", "Content-Type": "application/json"}
    problem(gateway.http.post("/api/process", content=body, headers=headers), 400, "INVALID_REQUEST")


def test_a_member_that_is_not_known_is_refused_by_name(gateway):
    body = {"uploadId": NOBODY, "priority": "high"}
    answer = gateway.http.post("/api/process", json=body, headers={"X-Session-Token": "x"})
    assert "priority" in problem(answer, 400, "INVALID_REQUEST")["detail"]


def test_a_body_that_does_not_say_it_is_json_is_not_read_as_json(gateway):
    headers = {"X-Session-Token": "x", "Content-Type": "text/plain"}
    content = f'{{"uploadId": "{NOBODY}"}}'
    problem(gateway.http.post("/api/process", content=content, headers=headers), 415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_body_too_large_for_json_is_a_413(gateway):
    body = {"uploadId": "x" * 100_000}
    answer = gateway.http.post("/api/process", json=body, headers={"X-Session-Token": "x"})
    problem(answer, 413, "REQUEST_TOO_LARGE")


def test_head_is_get_without_the_body(gateway):
    upload_id, token = gateway.upload()
    path, headers = f"/api/status/{upload_id}", {"X-Session-Token": token}
    head, get = gateway.http.head(path, headers=headers), gateway.http.get(path, headers=headers)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["ETag"] == get.headers["ETag"]
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


def test_head_of_a_stream_ends_at_once(gateway):
    upload_id, token = gateway.upload()
    answer = gateway.http.head(f"/api/status/{upload_id}/events", headers={"X-Session-Token": token}, timeout=5)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"].startswith("text/event-stream")


def test_head_where_there_is_no_get_is_a_405(gateway):
    assert gateway.http.head("/api/process").status_code == 405


def test_options_names_the_methods(gateway):
    answer = gateway.http.options("/api/process")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Allow"] == "OPTIONS, POST"


def test_readiness_names_the_broker_and_does_not_depend_on_it(gateway):
    answer = gateway.http.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "database": "ok", "objects": "ok", "broker": "away"}


@pytest.mark.parametrize(
    ("form", "files", "code"),
    [
        ({}, {"image": PHOTO}, "INVALID_REQUEST"),
        ({"email": "no address"}, {"image": PHOTO}, "INVALID_REQUEST"),
        ({"email": "a@b\x00c.example"}, {"image": PHOTO}, "INVALID_REQUEST"),
        ({"email": "x" * 3000 + "@example.com"}, {"image": PHOTO}, "INVALID_REQUEST"),
        ({"email": "ann@example.com"}, {"picture": PHOTO}, "INVALID_REQUEST"),
        ({"email": "ann@example.com", "size": "1"}, {"image": PHOTO}, "INVALID_REQUEST"),
        ({"email": ["ann@example.com", "eve@example.com"]}, {"image": PHOTO}, "INVALID_REQUEST"),
        ({"email": "ann@example.com"}, {"image": b""}, "INVALID_REQUEST"),
        ({"email": "ann@example.com"}, {"image": PHOTO[:200]}, "IMAGE_CORRUPT"),
    ],
)
def test_a_form_that_is_not_the_upload_form_leaves_nothing_behind(gateway, form, files, code):
    before = objects(gateway)
    problem(gateway.http.post("/api/uploads", data=form, files=files), 400, code)
    assert objects(gateway) == before


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\n",
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="email"\r\n\r\n\xff\xfe\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="email"\r\nContent-Type: a/b; charset=no\r\n\r\nx\r\n--b--\r\n',
        b"nothing of the kind",
        b"",
    ],
)
def test_a_form_that_cannot_be_read_is_a_400(gateway, body):
    answer = gateway.http.post(
        "/api/uploads", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    problem(answer, 400, "INVALID_REQUEST")


def test_a_form_without_its_boundary_is_a_400(gateway):
    answer = gateway.http.post("/api/uploads", content=b"x", headers={"Content-Type": "multipart/form-data"})
    problem(answer, 400, "INVALID_REQUEST")


def test_an_upload_that_is_no_form_is_a_415(gateway):
    problem(gateway.http.post("/api/uploads", json={}), 415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_file_that_is_no_picture_is_a_415(gateway):
    answer = gateway.http.post("/api/uploads", data={"email": "ann@example.com"}, files={"image": b"#!/bin/sh"})
    problem(answer, 415, "UNSUPPORTED_IMAGE")


def test_a_file_over_50_mb_is_a_413(gateway):
    image = PHOTO + bytes(50 * 1024 * 1024)
    answer = gateway.http.post("/api/uploads", data={"email": "ann@example.com"}, files={"image": image})
    problem(answer, 413, "IMAGE_TOO_LARGE")


def test_a_long_text_where_the_file_should_be_is_not_held_in_memory(gateway):
    answer = gateway.http.post("/api/uploads", data={"email": "x" * 40_000_000}, files={"image": PHOTO})
    assert "too long" in problem(answer, 400, "INVALID_REQUEST")["detail"]


def objects(gateway):
    folder = gateway.stack.folder / "objects"
    return sorted(str(path) for path in folder.rglob("*") if path.is_file() or path.is_symlink())


@pytest.mark.parametrize("path", ["/api/process", "/api/uploads/presign", "/api/nothing"])
def test_an_answer_given_before_the_body_was_read_still_arrives(gateway, path):
    for _ in range(5):
        answer = gateway.http.post(path, content=bytes(5_000_000), headers={"Content-Type": "text/plain"})
        assert answer.status_code in {401, 404, 415}
