"""Uploads held open: what they keep of the disk has a bound, for each client and in all, and it is given back."""

import contextlib
import select
import socket

import httpx
import pytest

from shared.database.migrate import migrate
from tests.integration.gateway.gateways import PHOTO, a_gateway, problem
from tests.stack import eventually

MIB = 1024 * 1024
PER_CLIENT, IN_ALL = 16 * MIB, 24 * MIB
FORM_HEAD = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
HELD = 6 * MIB
"""What each of the attacker's forms sends; it announces a little more, which never comes."""


@pytest.fixture(scope="module")
def gateway(postgres, tmp_path_factory):
    url = postgres.create_database()
    migrate(url)
    folder = tmp_path_factory.mktemp("gateway")
    spool = folder / "tmp"
    spool.mkdir()
    env = {
        "TMPDIR": str(spool),
        "TRUSTED_PROXIES": "127.0.0.0/8",
        "UPLOAD_SPOOL_BYTES": str(IN_ALL),
        "UPLOAD_SPOOL_BYTES_PER_CLIENT": str(PER_CLIENT),
    }
    with a_gateway(folder, url, env=env) as running:
        yield running
    postgres.drop_database(url)


def spooled(gateway):
    total = 0
    for path in (gateway.stack.folder / "tmp").rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


@pytest.fixture(autouse=True)
def nothing_is_left(gateway):
    yield
    eventually(lambda: list((gateway.stack.folder / "tmp").iterdir()) == [], within=20)


def hold_open(stack, gateway, client, head=None, body=FORM_HEAD, size=HELD):
    """Send a body but for its tail; return the connection, and how much of it was taken before an answer came."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=20))
    head = head or "POST /api/uploads HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b"
    connection.sendall(
        f"{head}\r\nHost: x\r\nX-Forwarded-For: {client}\r\nContent-Length: {size + 1000}\r\n\r\n".encode()
    )
    with contextlib.suppress(OSError):
        connection.sendall(body + bytes(size - len(body)))
    return connection


def upload(gateway, client, photo=PHOTO):
    form = {"data": {"email": "ann@example.com"}, "files": {"image": photo}}
    return httpx.post(f"{gateway.url}/api/uploads", headers={"X-Forwarded-For": client}, timeout=30, **form)


def refused(connections, *, at_least):
    """Wait until so many were answered before their end, and return the answers' statuses; the others stay open."""
    answered = []

    def enough():
        answered[:] = select.select(connections, [], [], 0)[0]
        return len(answered) >= at_least

    eventually(enough, within=30)
    return {int(connection.recv(100).split()[1]) for connection in answered}


def test_forty_open_forms_of_one_client_hold_no_more_than_its_share_and_hold_up_nobody_else(gateway):
    with contextlib.ExitStack() as stack:
        open_forms = [hold_open(stack, gateway, "203.0.113.1") for _ in range(40)]
        assert refused(open_forms, at_least=38) == {429}
        assert spooled(gateway) <= PER_CLIENT
        assert upload(gateway, "203.0.113.2").status_code == 201
        answer = upload(gateway, "203.0.113.1", bytes(PER_CLIENT))
        problem(answer, 429, "RATE_LIMITED")
        assert int(answer.headers["Retry-After"]) >= 1
    eventually(lambda: upload(gateway, "203.0.113.1").status_code == 201, within=20)


def test_open_forms_of_many_clients_hold_no_more_than_the_whole_budget(gateway):
    with contextlib.ExitStack() as stack:
        open_forms = [hold_open(stack, gateway, f"203.0.113.{n}") for n in range(20)]
        assert refused(open_forms, at_least=16) == {503}
        assert spooled(gateway) <= IN_ALL
        answer = upload(gateway, "203.0.113.99", bytes(HELD))
        problem(answer, 503, "UNAVAILABLE")
        assert int(answer.headers["Retry-After"]) >= 1
    eventually(lambda: upload(gateway, "203.0.113.99").status_code == 201, within=20)


def test_what_is_sent_without_its_length_counts_as_it_comes(gateway):
    def endless():
        yield FORM_HEAD
        for _ in range(2 * PER_CLIENT // MIB):
            yield bytes(MIB)

    headers = {"X-Forwarded-For": "203.0.113.1", "Content-Type": "multipart/form-data; boundary=b"}
    problem(httpx.post(f"{gateway.url}/api/uploads", content=endless(), headers=headers), 429, "RATE_LIMITED")


def test_announcing_a_large_body_and_sending_none_of_it_takes_nothing_from_others(gateway):
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=20))
            connection.sendall(
                b"POST /api/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                b"Content-Length: %d\r\n\r\n" % (15 * MIB)
            )
        assert upload(gateway, "203.0.113.99").status_code == 201


def test_direct_uploads_count_too(gateway):
    size = HELD + 1000
    body = {"email": "ann@example.com", "contentType": "image/jpeg", "sizeBytes": size}
    announced = gateway.http.post("/api/uploads/presign", json=body).json()
    path = httpx.URL(announced["url"]).raw_path.decode()
    head = f"PUT {path} HTTP/1.1\r\nContent-Type: image/jpeg"
    with contextlib.ExitStack() as stack:
        held = [hold_open(stack, gateway, "203.0.113.1", head=head, body=b"") for _ in range(10)]
        assert refused(held, at_least=8) == {429}
        assert spooled(gateway) <= PER_CLIENT


def test_the_hundredth_upload_finds_the_budget_as_the_first_did(gateway):
    large = bytes(PER_CLIENT - 100_000)
    for _ in range(30):
        problem(upload(gateway, "203.0.113.1", large), 415, "UNSUPPORTED_IMAGE")
    for _ in range(70):
        assert upload(gateway, "203.0.113.1").status_code == 201
