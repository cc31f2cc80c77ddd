"""Erasure forgets nothing: whatever died, raced or was away, what is erased is gone from database and object store.

Seen before: an announced upload could not be erased at all; `pending_uploads` kept e-mail and token digest of a
completed upload for 40 minutes. With 40 uploads announced and a kill at each of the 18 steps of `complete`, 36 erasures
were refused, 40 e-mails stayed, and 10 copies were left for ever. Of 8 kills during `POST /api/uploads` 4 left a photo
that nobody knew of.
"""

import asyncio
import contextlib
import datetime as dt
import json
import os
import sys
import uuid
from uuid import UUID, uuid4

import aioboto3  # type: ignore[import-untyped, unused-ignore]  # ships no types
import httpx
import psycopg
import pytest

from contracts.events import ProcessingCompleted, UploadErased, UploadRegistered
from services.gateway.http.sessions import digest
from services.gateway.uploads.janitor import janitor_of
from shared.bootstrap import embedded_runtime
from shared.eventstore.pending_uploads import PendingUpload
from shared.operations.context import operator_context
from shared.operations.erase import erase_upload
from shared.read_model.rebuild import rebuild
from shared.settings import load
from shared.storage.keys import checked_key, generated_key, incoming_key, prefixes_of, preview_key, result_key
from shared.storage.port import ObjectStoreError
from shared.upload.errors import UploadNotFoundError
from tests.builders import a_run_up_to
from tests.integration.gateway.gateways import PHOTO
from tests.integration.gateway.in_process import a_served_gateway
from tests.integration.operations.darkroom import ACTOR, ROOT, darkroom
from tests.integration.operations.failed_runs import running, store_runs
from tests.s3_server import ACCESS_KEY_ID, SECRET_ACCESS_KEY, s3_server
from tests.servers import free_port

EMAIL, TOKEN = "quite.unmistakable@example.org", "a-token-of-somebody"
WHY = {"by": "ann", "reason": "they asked"}


@pytest.fixture
def directory(tmp_path):
    """Settings of an empty object store in a directory."""
    return {"OBJECT_STORE_URL": (tmp_path / "objects").as_uri()}


@pytest.fixture(params=["directory", "bucket"])
async def store_env(request, directory):
    """Settings of an empty object store, of each kind."""
    if request.param == "directory":
        yield directory
        return
    with s3_server() as endpoint:
        bucket = f"darkroom-{uuid.uuid4()}"
        session = aioboto3.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name="us-east-1")
        async with session.client("s3", endpoint_url=endpoint) as client:
            await client.create_bucket(Bucket=bucket)
        keys = {"S3_ACCESS_KEY_ID": ACCESS_KEY_ID, "S3_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}
        yield {"OBJECT_STORE_URL": f"s3://{bucket}", "S3_ENDPOINT_URL": endpoint, "S3_REGION": "us-east-1", **keys}


@contextlib.asynccontextmanager
async def a_process(database_url, store_env):
    """A process's parts, and an operator's desk over them."""
    runtime = embedded_runtime(load({"DATABASE_URL": database_url, **store_env}), public_url="http://127.0.0.1:1")
    async with running(runtime) as context:
        yield runtime, context


async def announced(runtime, number, *, sent=True):
    """Uploads that were announced, and whose photo was sent."""
    uploads = []
    for _ in range(number):
        upload_id = uuid4()
        now = dt.datetime.now(dt.UTC)
        await operator_context(runtime.pool, runtime.store).announced.add(
            PendingUpload(
                id=upload_id,
                email=EMAIL,
                session_token_digest=digest(TOKEN),
                content_type="image/jpeg",
                size_bytes=len(PHOTO),
                expires_at=now + dt.timedelta(minutes=30),
            )
        )
        if sent:
            await runtime.objects.put(incoming_key(upload_id), PHOTO, "image/jpeg")
        uploads.append(upload_id)
    return uploads


async def mortal(scenario, uploads, env):
    """Kill a process at every step of a scenario, each on an upload of its own; return what each step was called."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.attacks.mortal", scenario),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(json.dumps(uploads).encode()), 90)
    steps = out.decode().splitlines()
    assert (process.returncode, steps[-1:]) == (0, ["alive"]), err.decode()[-3000:]
    return steps[:-1]


async def time_passes(runtime, *, days=0):
    """Let all claims, pauses, URLs and announcements end, by the database's clock, and a gateway go its round."""
    async with runtime.pool.connection() as conn:
        await conn.execute("UPDATE pending_uploads SET expires_at = expires_at - interval '3 hours'")
        await conn.execute("UPDATE kept_uploads SET since = since - %s, look_at = since", (dt.timedelta(days=days),))
    for _ in range(2):  # an expired announcement's objects, too, are looked at twice
        async with runtime.pool.connection() as conn:
            await conn.execute(
                "UPDATE object_cleanups SET due_at = due_at - interval '3 hours', until = until - interval '3 hours'"
            )
        await janitor_of(runtime).round()


async def objects_of(runtime, tmp_path, upload_ids=None):
    """Name all objects, or some uploads', and whatever else the store keeps of writes that never ended."""
    if upload_ids is not None:
        return [k for i in upload_ids for p in prefixes_of(UUID(str(i))) async for k in runtime.objects.list_keys(p)]
    folders = ("incoming", "originals", "generated", "results", "previews")
    found = [key for folder in folders async for key in runtime.objects.list_keys(folder)]
    return found + [path.name for path in tmp_path.glob("objects/.blobs/*")]


def everything_in(database_url):
    """Every row of every table, as text."""
    with psycopg.connect(database_url) as conn:
        tables = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        rows = [str(conn.execute(f"SELECT {name}::text FROM {name}").fetchall()) for (name,) in tables]  # noqa: S608
        events = conn.execute("SELECT convert_from(state, 'UTF8') FROM upload_events").fetchall()
    return "".join(rows) + str(events)


def assert_nobody_is_named(database_url):
    text = everything_in(database_url)
    assert [secret for secret in (EMAIL, "ann@example.com", digest(TOKEN), "f" * 64) if secret in text] == []


@pytest.mark.timeout(180)
async def test_a_kill_at_every_step_of_complete_then_an_erasure_leaves_nothing(database_url, store_env, tmp_path):
    env = {"DATABASE_URL": database_url, **store_env}
    async with a_process(database_url, store_env) as (runtime, context):
        ids = await announced(runtime, 40)
        steps = await mortal("complete", [{"id": str(each), "token": TOKEN} for each in ids], env)
        ids = ids[: len(steps) + 1]
        assert {"before EventStore.append", "after EventStore.append"} <= set(steps)
        stray = [key for key in await objects_of(runtime, tmp_path, ids) if key.startswith("originals/")]
        assert len(stray) >= 4
        for each in ids:
            await erase_upload(context, runtime.objects, each, **WHY)
        assert await objects_of(runtime, tmp_path, ids) == []
        await time_passes(runtime)
        assert await context.cleanups.claim(100) == []
        for each in ids:
            assert [
                type(event) for event in await runtime.store.history(each) if not isinstance(event, UploadRegistered)
            ] in ([], [UploadErased])
        assert await objects_of(runtime, tmp_path) == []
    assert_nobody_is_named(database_url)


@pytest.mark.timeout(180)
async def test_a_kill_at_every_step_of_complete_leaves_nothing_that_its_owner_does_not_see(
    database_url, directory, tmp_path
):
    env = {"DATABASE_URL": database_url, **directory}
    async with a_process(database_url, directory) as (runtime, context):
        ids = await announced(runtime, 40)
        steps = await mortal("complete", [{"id": str(each), "token": TOKEN} for each in ids], env)
        await time_passes(runtime)
        rows = {each: await context.uploads.get(each) for each in ids}
        registered = {row.original_key for row in rows.values() if row is not None}
        assert 2 <= len(registered) < len(steps)
        left = await objects_of(runtime, tmp_path)
        assert {key for key in left if "/" in key} == registered
        assert len(left) in (len(registered), 2 * len(registered))  # in a directory each has its bytes' file, besides
        assert (await context.announced.get(ids[-1]), await context.cleanups.claim(100)) == (None, [])


@pytest.mark.timeout(180)
async def test_a_kill_at_every_step_of_an_upload_through_the_gateway_leaves_no_photo(database_url, directory, tmp_path):
    env = {"DATABASE_URL": database_url, **directory}
    uploads = [{"photo": PHOTO.hex(), "email": EMAIL}] * 20
    async with a_process(database_url, directory) as (runtime, _):
        steps = await mortal("create", uploads, env)
        assert {"before LocalObjectStore.put_file", "after the bytes", "after the link"} <= set(steps)
        before = [key for key in await objects_of(runtime, tmp_path) if "/" in key]
        await time_passes(runtime)
        kept = [key for key in await objects_of(runtime, tmp_path) if "/" in key]
        assert (len(before) > len(kept), len(kept)) == (True, 2)  # that whose answer was lost, and the one that lived
        await time_passes(runtime, days=8)
        assert await objects_of(runtime, tmp_path) == []
    assert_nobody_is_named(database_url)


@pytest.mark.timeout(180)
async def test_a_kill_at_every_step_of_an_erasure_erases_all_or_nothing_and_a_second_one_all(
    database_url, directory, tmp_path
):
    env = {"DATABASE_URL": database_url, **directory}
    async with a_process(database_url, directory) as (runtime, context):
        for make in (completed_runs, announced):
            kind = await make(runtime, 60)
            steps = await mortal("erase", [{"id": str(each)} for each in kind], env)
            killed = kind[: len(steps)]
            await time_passes(runtime)
            for each in killed:
                left = await objects_of(runtime, tmp_path, [each])
                row = await context.uploads.get(each)
                erased = row.erased if row else await context.announced.get(each) is None
                assert (left == []) == erased
                assert len(left) in (0, 6, 1)
            for each in kind:
                with contextlib.suppress(UploadNotFoundError):
                    await erase_upload(context, runtime.objects, each, **WHY)
        await time_passes(runtime)
        assert await objects_of(runtime, tmp_path) == []
    assert_nobody_is_named(database_url)
    assert (await asyncio.to_thread(rebuild, database_url)).different == 0


async def completed_runs(runtime, number):
    """Uploads whose run completed, with the pictures of another attempt and of a copy that nobody registered."""
    runs = []
    for _ in range(number):
        upload_id, run_id = uuid4(), uuid4()
        runs.append(a_run_up_to(ProcessingCompleted, upload_id=upload_id, run_id=run_id))
        for key in (
            incoming_key(upload_id),
            checked_key(upload_id, uuid4()),
            generated_key(upload_id, run_id, 1),
            generated_key(upload_id, uuid4(), 7),
            result_key(upload_id, uuid4()),
            preview_key(upload_id, uuid4()),
        ):
            await runtime.objects.put(key, b"picture", "image/png")
    return store_runs(runtime.settings.database.database_url, runs)


async def test_completing_and_erasing_at_the_same_moment_leaves_no_upload_that_was_erased(
    database_url, directory, tmp_path
):
    async with a_served_gateway(tmp_path, database_url, **directory) as (runtime, port), _http(port) as http:
        context = operator_context(runtime.pool, runtime.store)
        ids = await announced(runtime, 30)

        async def complete(each):
            answer = await http.post(f"/api/uploads/{each}/complete", headers={"X-Session-Token": TOKEN})
            return answer.status_code

        async def erase(nth, each):
            for _ in range(nth):  # later and later in the other's course
                await runtime.objects.ping()
            await erase_upload(context, runtime.objects, each, **WHY)

        codes, _ = await asyncio.gather(
            asyncio.gather(*map(complete, ids)), asyncio.gather(*(erase(nth, each) for nth, each in enumerate(ids)))
        )
        again = {await complete(each) for each in ids}
        await time_passes(runtime)
        assert await objects_of(runtime, tmp_path) == []
    assert set(codes) <= {200, 404, 409}
    assert again == {404}
    assert_nobody_is_named(database_url)


async def test_an_announced_upload_is_erased_from_the_command_line_and_the_act_is_kept(
    database_url, directory, tmp_path
):
    env = {"DATABASE_URL": database_url, **directory}
    async with a_process(database_url, directory) as (runtime, context):
        [sent, _] = await announced(runtime, 2)
        [unsent] = await announced(runtime, 1, sent=False)
        for each, pictures in ((sent, 1), (unsent, 0), (sent, 0)):
            said = await darkroom("erase", each, "--yes", "--reason", "they asked", "--by", "ann", env=env)
            assert (said.status, f"{pictures} pictures deleted" in said.out) == (0, True), said
        unknown = await darkroom("erase", uuid4(), "--yes", "--reason", "they asked", env=env)
        assert (unknown.status, "does not exist" in unknown.err) == (1, True)
        actions = await context.audit_log.latest(10)
        assert [(a.who, a.what, a.details["uploadId"]) for a in actions] == [
            (ACTOR, "erase", str(each)) for each in (sent, unsent, sent)
        ]
        # Its URL still works for a while: what is sent after the erasure goes as well.
        await runtime.objects.put(incoming_key(sent), PHOTO, "image/jpeg")
        await time_passes(runtime)
        assert await objects_of(runtime, tmp_path, [sent, unsent]) == []


async def test_an_erasure_with_the_object_store_away_is_made_up_for(database_url):
    away = {
        "OBJECT_STORE_URL": "s3://darkroom",
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "S3_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "S3_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
    }
    async with a_process(database_url, away) as (runtime, context):
        [upload_id] = await completed_and_stored(database_url)
        with pytest.raises(ObjectStoreError):
            await erase_upload(context, runtime.objects, upload_id, **WHY)
        assert_nobody_is_named(database_url)
        for _ in range(3):  # however often the janitor finds it away
            await time_passes(runtime)
            assert await context.cleanups.knows(upload_id)
    with s3_server() as endpoint:
        back = {**away, "S3_ENDPOINT_URL": endpoint, "S3_REGION": "us-east-1"}
        session = aioboto3.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name="us-east-1")
        async with session.client("s3", endpoint_url=endpoint) as client:
            await client.create_bucket(Bucket="darkroom")
        async with a_process(database_url, back) as (runtime, context):
            await runtime.objects.put(preview_key(upload_id, uuid4()), b"picture", "image/jpeg")
            await time_passes(runtime)
            assert [key async for key in runtime.objects.list_keys("previews")] == []
            assert not await context.cleanups.knows(upload_id)


async def completed_and_stored(database_url):
    return store_runs(database_url, [a_run_up_to(ProcessingCompleted, upload_id=uuid4(), run_id=uuid4())])


async def test_a_completed_upload_leaves_no_announcement_and_no_second_email(database_url, directory, tmp_path):
    async with a_served_gateway(tmp_path, database_url, **directory) as (runtime, port), _http(port) as http:
        [upload_id] = await announced(runtime, 1)
        path, headers = f"/api/uploads/{upload_id}/complete", {"X-Session-Token": TOKEN}
        codes = [(await http.post(path, headers=headers)).status_code for _ in range(2)]
        async with runtime.pool.connection() as conn:
            rows = await (await conn.execute("SELECT * FROM pending_uploads")).fetchall()
    assert codes == [200, 200]
    assert rows == []


def _http(port):
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30)
