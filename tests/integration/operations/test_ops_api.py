"""/api/ops/* on the real gateway's application: who gets in, and what an operator can do there."""

import contextlib
from uuid import uuid4

import httpx
import pytest

from contracts.events import Stage
from services.gateway.app import attach
from shared.bootstrap import embedded_runtime, rabbit_runtime
from shared.messaging.topology import dead
from shared.operations.context import operator_context
from tests.integration.operations.failed_runs import Saga, failed_run, running, settings_for, store_runs, until
from tests.integration.operations.test_dead_letters import publish
from tests.servers import free_port

TOKEN = "let-me-in"
LET_IN = {"Authorization": f"Bearer {TOKEN}"}
WHY = {"reason": "the store is back"}


@contextlib.asynccontextmanager
async def gateway(database_url, folder, *, saga=None, token=TOKEN, amqp_url=""):
    """Run a gateway beside the stages, and return an operator's client of it and the process's parts."""
    port = free_port()
    env = {"OPERATOR_TOKEN": token, "AMQP_URL": amqp_url, "PROVIDER_CALL_COST": "0.5", "PORT": str(port)}
    env |= {"TRUSTED_PROXIES": "127.0.0.1"}  # so that a test may call as several clients
    make = rabbit_runtime if amqp_url else embedded_runtime
    runtime = make(settings_for(database_url, folder, **env), public_url=f"http://127.0.0.1:{port}")
    (saga or Saga()).attach(runtime)
    attach(runtime)
    async with (
        running(runtime),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=LET_IN, timeout=30) as client,
    ):

        async def answers():
            with contextlib.suppress(httpx.TransportError):
                return (await client.get("/health/live")).status_code == 200

        await until(answers)
        yield client, runtime


ROUTES = [
    ("GET", "/api/ops/runs"),
    ("GET", f"/api/ops/runs/{uuid4()}"),
    ("POST", f"/api/ops/runs/{uuid4()}/replay"),
    ("POST", "/api/ops/replays"),
    ("GET", "/api/ops/replays"),
    ("GET", f"/api/ops/replays/{uuid4()}"),
    ("POST", f"/api/ops/replays/{uuid4()}/cancel"),
    ("GET", "/api/ops/dead-letters"),
    ("POST", "/api/ops/dead-letters/storer/redrive"),
]


async def test_nobody_gets_in_without_the_operators_token(database_url, tmp_path):
    wrong = [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"}]
    async with gateway(database_url, tmp_path) as (client, _):
        for number, (method, path) in enumerate(ROUTES):
            for headers in wrong:
                sent = {"Authorization": "", "X-Forwarded-For": f"192.0.2.{number}"} | headers
                answer = await client.request(method, path, headers=sent, json={})
                assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_OPERATOR_TOKEN"), (path, headers)
                assert answer.headers["content-type"] == "application/problem+json"


async def test_nobody_gets_in_where_no_token_is_configured(database_url, tmp_path):
    async with gateway(database_url, tmp_path, token="") as (client, _):
        for method, path in ROUTES:
            for headers in ({"Authorization": "Bearer none"}, LET_IN, {"Authorization": ""}):
                answer = await client.request(method, path, headers=headers, json={})
                assert (answer.status_code, answer.json()["code"]) == (403, "OPERATIONS_DISABLED"), (path, headers)


async def all_pages(client, query):
    seen, cursor = [], {}
    while True:
        page = (await client.get("/api/ops/runs", params=query | {"limit": 10} | cursor)).json()
        seen += page["runs"]
        if page["next"] is None:
            return seen
        cursor = {"cursor": page["next"]}


async def test_pages_of_runs_together_are_the_whole_list_without_repeats(database_url, tmp_path):
    store_runs(database_url, [failed_run(n // 3, code=f"CODE_{n % 2}") for n in range(25)])
    fresh = store_runs(database_url, [failed_run()[:1]])
    cases = (({}, 25), ({"status": "failed"}, 25), ({"code": "CODE_1"}, 12), ({"status": "pending"}, 1))
    async with gateway(database_url, tmp_path) as (client, _):
        for query, expected in cases:
            seen = await all_pages(client, query)
            assert len(seen) == len({run["uploadId"] for run in seen}) == expected, query
            assert [run["createdAt"] for run in seen] == sorted((run["createdAt"] for run in seen), reverse=True)
            assert {run["uploadId"] for run in seen}.isdisjoint(map(str, fresh)) == (query != {"status": "pending"})
        for bad in ("x", "bm90aGluZw==", "MjAyNi0wMS0wMSB4"):
            answer = await client.get("/api/ops/runs", params={"cursor": bad})
            assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")


async def test_a_timeline_shows_every_event_and_nobodys_e_mail(database_url, tmp_path):
    run = failed_run()
    [upload_id] = store_runs(database_url, [run])
    async with gateway(database_url, tmp_path) as (client, _):
        by_upload = await client.get(f"/api/ops/runs/{upload_id}")
        by_run = await client.get(f"/api/ops/runs/{run[1].workflow_run_id}")
        unknown = await client.get(f"/api/ops/runs/{uuid4()}")
        nonsense = await client.get("/api/ops/runs/nonsense")
    assert by_upload.json() == by_run.json()
    assert [event["type"] for event in by_run.json()["events"]] == [type(event).__name__ for event in run]
    assert by_run.json()["run"]["error"]["code"] == "STORAGE_UNAVAILABLE"
    for secret in ("ann@example.com", "d" * 64):
        assert secret not in by_run.text
    assert {(a.status_code, a.json()["code"]) for a in (unknown, nonsense)} == {(404, "RUN_NOT_FOUND")}


async def test_a_run_is_replayed_once_and_then_refused(database_url, tmp_path):
    run = failed_run()
    [upload_id] = store_runs(database_url, [run])
    saga = Saga()
    async with gateway(database_url, tmp_path, saga=saga) as (client, runtime):
        path = f"/api/ops/runs/{upload_id}/replay"
        for bad in ({}, {"reason": " "}, WHY | {"fromStage": "painting"}, WHY | {"more": 1}):
            assert (await client.post(path, json=bad)).status_code == 400, bad
        late = await client.post(path, json=WHY | {"fromStage": "watermarking"})
        assert (late.status_code, late.json()["code"]) == (409, "NOT_REPLAYABLE")
        assert "it failed at storing" in late.json()["detail"].lower()
        answer = await client.post(path, json=WHY)
        assert answer.status_code == 202
        assert answer.json() == {
            "uploadId": str(upload_id),
            "workflowRunId": str(run[1].workflow_run_id),
            "attempt": 2,
            "fromStage": "storing",
        }
        await until(lambda: (Stage.WATERMARKING, upload_id) in saga.done)
        again = await client.post(path, json=WHY)
        [noted] = await operator_context(runtime.pool, runtime.store).audit_log.latest(10)
    assert (again.status_code, again.json()["code"]) == (409, "NOT_REPLAYABLE")
    assert (noted.who, noted.what, noted.why) == ("operator", "replay", "the store is back")


async def test_many_runs_are_estimated_replayed_followed_and_listed(database_url, tmp_path):
    store_runs(database_url, [failed_run(n) for n in range(12)] + [failed_run(at=Stage.GENERATING, code="DOWN")])
    async with gateway(database_url, tmp_path) as (client, _):
        dry = await client.post("/api/ops/replays", json={"dryRun": True})
        assert (dry.status_code, dry.json()["runs"], dry.json()["providerCalls"], dry.json()["cost"]) == (
            200,
            13,
            1,
            0.5,
        )
        assert (await client.get("/api/ops/replays")).json() == {"replays": []}
        wanted = WHY | {"stage": "storing", "rate": 1000}
        assert (await client.post("/api/ops/replays", json={"stage": "storing"})).status_code == 400
        none = await client.post("/api/ops/replays", json=WHY | {"code": "NO_SUCH"})
        assert (none.status_code, none.json()["code"]) == (409, "NOTHING_SELECTED")
        job = (await client.post("/api/ops/replays", json=wanted)).json()

        async def over():
            return (await client.get(f"/api/ops/replays/{job['id']}")).json()["replay"]["endedAt"]

        await until(over)
        first = (await client.get(f"/api/ops/replays/{job['id']}", params={"limit": 10})).json()
        rest = (await client.get(f"/api/ops/replays/{job['id']}", params={"limit": 10, "after": first["next"]})).json()
        [listed] = (await client.get("/api/ops/replays")).json()["replays"]
        late = await client.post(f"/api/ops/replays/{job['id']}/cancel", json=WHY)
        unknown = await client.get(f"/api/ops/replays/{uuid4()}")
    assert (job["total"], job["requestedBy"]) == (12, "operator")
    assert (listed["state"], listed["tally"]["completed"]) == ("done", 12)
    assert [run["position"] for run in first["runs"] + rest["runs"]] == list(range(1, 13))
    assert {run["state"] for run in first["runs"] + rest["runs"]} == {"completed"}
    assert rest["next"] is None
    assert (late.status_code, late.json()["code"]) == (409, "REPLAY_OVER")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "REPLAY_NOT_FOUND")


async def test_dead_letters_are_counted_and_put_back(database_url, amqp_url, tmp_path):
    async with gateway(database_url, tmp_path, amqp_url=amqp_url) as (client, runtime):
        await until(lambda: runtime.transport.up)
        await publish(amqp_url, dead("storer"), b"bad", headers={"x-reason": "a bug"})

        async def letters():
            queues = (await client.get("/api/ops/dead-letters")).json()["queues"]
            return {queue["queue"]: queue["reasons"] for queue in queues if queue["messages"]}

        async def there():
            return await letters() == {"storer": {"a bug": 1}}

        await until(there)
        unknown = await client.post("/api/ops/dead-letters/painter/redrive", json=WHY)
        answer = await client.post("/api/ops/dead-letters/storer/redrive", json=WHY)

        async def dead_again():
            [reason] = (await letters()).get("storer", {"": 0})
            return reason.startswith("cannot be read")

        await until(dead_again)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "QUEUE_NOT_FOUND")
    assert answer.json() == {"queue": "storer", "messages": 1}


async def test_without_a_broker_there_are_no_dead_letters(database_url, tmp_path):
    async with gateway(database_url, tmp_path) as (client, _):
        assert (await client.get("/api/ops/dead-letters")).json() == {"queues": []}
        answer = await client.post("/api/ops/dead-letters/storer/redrive", json=WHY)
    assert (answer.status_code, answer.json()["code"]) == (409, "NO_BROKER")


@pytest.mark.parametrize("limit", [0, 501])
async def test_a_page_is_neither_empty_nor_endless(database_url, tmp_path, limit):
    async with gateway(database_url, tmp_path) as (client, _):
        assert (await client.get("/api/ops/runs", params={"limit": limit})).status_code == 400
