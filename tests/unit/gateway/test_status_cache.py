"""Statuses from memory: what is answered again, and what never is."""

import asyncio
import uuid

import pytest
from psycopg import OperationalError

from services.gateway.jobs import status_cache
from services.gateway.jobs.status_cache import with_status_cache

UPLOAD = str(uuid.UUID(int=7))
PATH = f"/api/status/{UPLOAD}"


class Application:
    """Answers with its state's version as the ETag, and counts how often it had to."""

    def __init__(self):
        self.version = 1
        self.status = 200
        self.asked = 0

    async def __call__(self, scope, receive, send):
        self.asked += 1
        scope["path_template"] = "/api/status/{jobId}"
        head = [(b"content-type", b"application/json"), (b"vary", b"Origin")]
        if self.status in {200, 304}:
            head.append((b"etag", b'W/"%d"' % self.version))
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        body = b"" if self.status == 304 else b'{"answer":%d}' % self.asked
        await send({"type": "http.response.body", "body": body, "more_body": False})


class Reads:
    """The database's word on versions."""

    def __init__(self, application):
        self._application = application
        self.refusal = None
        self.hangs = False

    def version(self, upload_id):
        assert str(upload_id) == UPLOAD
        said = asyncio.get_running_loop().create_future()
        if self.refusal:
            said.set_exception(self.refusal)
        elif not self.hangs:
            said.set_result(self._application.version)
        return said


class Gateway:
    def __init__(self):
        self.app = Application()
        self.reads = Reads(self.app)
        self._outermost = with_status_cache(self.app, self.reads)

    async def get(self, path=PATH, method="GET", query=b"", **headers):
        sent = {"x-session-token": "t", **{name.replace("_", "-"): value for name, value in headers.items()}}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": [(name.encode(), value.encode()) for name, value in sent.items() if value],
        }
        messages = []

        async def send(message):
            messages.append(message)

        await self._outermost(scope, None, send)
        assert scope["path_template"] == "/api/status/{jobId}"
        start, body = messages
        return start["status"], dict(start["headers"]), body["body"]


@pytest.fixture
def gateway():
    return Gateway()


async def test_an_answer_is_given_again_to_the_letter_while_its_upload_has_not_changed(gateway):
    first = await gateway.get()
    assert [await gateway.get() for _ in range(3)] == [first] * 3
    assert gateway.app.asked == 1


async def test_a_change_is_seen_at_once(gateway):
    await gateway.get()
    gateway.app.version = 2
    _, head, body = await gateway.get()
    assert (head[b"etag"], body) == (b'W/"2"', b'{"answer":2}')


@pytest.mark.parametrize("tags", ['W/"1"', '"1"', '"x", W/"1"', "*"])
async def test_who_knows_it_is_told_so_from_memory_whether_a_200_or_a_304_was_remembered(gateway, tags):
    await gateway.get()
    assert await gateway.get(if_none_match=tags) == (
        304, {b"vary": b"Origin", b"etag": b'W/"1"'}, b"")  # fmt: skip
    gateway.app.version, gateway.app.status = 2, 304
    await gateway.get(if_none_match='W/"2"')
    assert (await gateway.get(if_none_match='W/"2"'))[0] == 304
    assert gateway.app.asked == 2
    gateway.app.status = 200
    assert (await gateway.get())[0] == 200
    assert gateway.app.asked == 3


async def test_another_tag_gets_the_whole_answer_from_memory(gateway):
    first = await gateway.get()
    assert await gateway.get(if_none_match='W/"11"') == first
    assert gateway.app.asked == 1


@pytest.mark.parametrize("other", [
    {"x_session_token": "another"}, {"origin": "https://a.example"}, {"query": b"wait=5"}, {"method": "POST"},
    {"x_session_token": ""}, {"path": f"{PATH}/"}, {"path": f"{PATH}/events"},
])  # fmt: skip
async def test_a_request_that_differs_in_what_the_answer_depends_on_goes_to_the_application(gateway, other):
    await gateway.get()
    await gateway.get(**other)
    assert gateway.app.asked == 2


@pytest.mark.parametrize("status", [401, 404, 500, 503])
async def test_a_refusal_is_not_remembered(gateway, status):
    gateway.app.status = status
    for _ in range(2):
        assert (await gateway.get())[0] == status
    assert gateway.app.asked == 2


async def test_without_the_databases_word_the_application_answers(gateway, monkeypatch):
    monkeypatch.setattr(status_cache, "WAIT", 0.02)
    await gateway.get()
    gateway.reads.hangs = True
    await gateway.get()
    gateway.reads.refusal = OperationalError("away")
    await gateway.get()
    assert gateway.app.asked == 3


async def test_an_upload_that_is_gone_is_not_answered_from_memory(gateway):
    await gateway.get()
    gateway.app.version, gateway.app.status = None, 404
    assert (await gateway.get())[0] == 404


async def test_what_a_client_may_make_long_is_not_kept(gateway):
    for _ in range(2):
        await gateway.get(origin="https://" + "a" * 300)
    assert gateway.app.asked == 2


async def test_an_answer_is_made_anew_after_its_time(gateway, monkeypatch):
    monkeypatch.setattr(status_cache, "KEPT", -1.0)
    for _ in range(3):
        await gateway.get()
    assert gateway.app.asked == 3


async def test_the_oldest_answer_makes_room(gateway, monkeypatch):
    monkeypatch.setattr(status_cache, "ROOM", 2)
    for token in ("a", "b", "c", "b", "c"):
        await gateway.get(x_session_token=token)
    assert gateway.app.asked == 3
    await gateway.get(x_session_token="a")
    assert gateway.app.asked == 4
