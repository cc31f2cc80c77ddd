"""Clients that hang up in the middle: no fault of anybody, so nothing of it in the log but at its most talkative."""

import datetime as dt
import json
from urllib.parse import urlsplit

import pytest

from shared.database.migrate import migrate
from shared.storage.local import LocalObjectStore
from tests.integration.gateway.gateways import a_gateway
from tests.stack import eventually

CLIENTS = 40
FORM = (
    "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n"
    '--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nsome bytes'
)
JSON = "X-Session-Token: t\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"


@pytest.fixture(scope="module")
def gateway(postgres, tmp_path_factory):
    url = postgres.create_database()
    migrate(url)
    with a_gateway(tmp_path_factory.mktemp("gateway"), url) as running:
        yield running
    postgres.drop_database(url)


def hang_up(gateway, sent, *, read=0):
    with gateway.raw() as connection:
        connection.sendall(sent.encode())
        if read:
            assert connection.recv(read)


def counted(gateway, status):
    lines = gateway.http.get("/metrics").text.splitlines()
    ours = (line for line in lines if line.startswith("darkroom_http_requests_total{") and f'"{status}"' in line)
    return sum(float(line.rpartition(" ")[2]) for line in ours)


def no_fault_is_logged(gateway):
    lines = [json.loads(line) for line in gateway.log().splitlines()]
    assert "Traceback" not in gateway.log()
    return [line for line in lines if line["level"] not in {"debug", "info"} and "request_id" in line] == []


@pytest.mark.parametrize("request_line", ["POST /api/uploads", "POST /api/process", "POST /api/uploads/presign"])
def test_forty_clients_that_hang_up_in_their_body_are_counted_and_log_no_error(gateway, request_line):
    before = counted(gateway, 499)
    body = FORM if request_line.endswith("uploads") else JSON
    for _ in range(CLIENTS):
        hang_up(gateway, f"{request_line} HTTP/1.1\r\nHost: x\r\n{body}")
    eventually(lambda: counted(gateway, 499) == before + CLIENTS, within=20, or_show=gateway.log)
    assert counted(gateway, 500) == 0
    assert no_fault_is_logged(gateway)


def test_clients_that_hang_up_in_a_stream_or_a_long_poll_log_no_error(gateway):
    upload_id, token = gateway.upload()
    path = f"/api/status/{upload_id}"
    for target, header in ((f"{path}/events", ""), (f"{path}?wait=2", 'If-None-Match: "1"\r\n')):
        for _ in range(8):
            request = f"GET {target} HTTP/1.1\r\nHost: x\r\nX-Session-Token: {token}\r\n{header}\r\n"
            hang_up(gateway, request, read=0 if header else 10)
    eventually(lambda: gateway.client.status(upload_id, token)["status"] == "pending", within=10)
    assert no_fault_is_logged(gateway)


async def test_clients_that_hang_up_in_a_download_log_no_error(gateway):
    store = LocalObjectStore(gateway.stack.folder / "objects", gateway.url)
    await store.put("results/large", bytes(40 * 1024 * 1024), "image/png")
    url = urlsplit(await store.signed_url("results/large", expires=dt.timedelta(minutes=1)))
    before = counted(gateway, 200)
    for _ in range(8):
        hang_up(gateway, f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\n\r\n", read=10)
    eventually(lambda: counted(gateway, 200) >= before + 8, within=10)
    assert gateway.http.get("/health/live").status_code == 200
    assert no_fault_is_logged(gateway)
