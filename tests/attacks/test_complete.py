"""`complete`, called as often as a client likes: one at a time for each upload, and a refusal costs nothing again."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import psycopg
import pytest

from shared.database.migrate import migrate
from tests.integration.gateway.gateways import PHOTO, a_gateway, problem

MIB = 1024 * 1024
JUNK = b"not a picture" + bytes(20 * MIB)
CALLS = 100


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store") / "objects"


@pytest.fixture(scope="module")
def gateways(postgres, tmp_path_factory, store):
    """Two gateways over one database and one store."""
    url = postgres.create_database()
    migrate(url)
    env = {"OBJECT_STORE_URL": store.as_uri()}
    with contextlib.ExitStack() as stack:
        folder = tmp_path_factory.mktemp("gateways")
        yield [stack.enter_context(a_gateway(folder / name, url, env=env)) for name in ("one", "two")]
    postgres.drop_database(url)


def sent(gateway, content):
    """Announce an upload and send it; return what was announced."""
    body = {"email": "ann@example.com", "contentType": "image/jpeg", "sizeBytes": len(content)}
    announced = gateway.http.post("/api/uploads/presign", json=body).json()
    put(announced, content)
    return announced


def put(announced, content):
    answer = httpx.put(announced["url"], content=content, headers=announced["headers"], timeout=30)
    assert answer.status_code == 200, answer.text


def complete(gateway, announced):
    path = f"{gateway.url}/api/uploads/{announced['uploadId']}/complete"
    return httpx.post(path, headers={"X-Session-Token": announced["sessionToken"]}, timeout=60)


def stored(store):
    total = 0
    for path in (store / ".blobs").iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total


def resident(gateway):
    return psutil.Process(gateway.stack.processes["gateway"].pid).memory_info().rss


@contextlib.contextmanager
def highest(measure):
    """Measure again and again for as long as the context lasts; return a list that ends in the most."""
    done, most = threading.Event(), [measure()]

    def look():
        while not done.wait(0.005):
            most.append(max(most[-1], measure()))

    with ThreadPoolExecutor(1) as thread:
        looking = thread.submit(look)
        try:
            yield most
        finally:
            done.set()
            looking.result()


@pytest.mark.parametrize("content", [JUNK, PHOTO + bytes(20 * MIB)], ids=["junk", "photo"])
def test_a_hundred_calls_at_one_moment_to_two_gateways_make_one_copy(gateways, store, content):
    announced = sent(gateways[0], content)
    before, memory = stored(store), sum(resident(gateway) for gateway in gateways)
    with highest(lambda: stored(store)) as most, ThreadPoolExecutor(CALLS) as threads:
        answers = list(threads.map(lambda n: complete(gateways[n % 2], announced), range(CALLS)))
    expected = 415 if content is JUNK else 200
    assert {answer.status_code for answer in answers} <= {expected, 409}
    assert expected in {answer.status_code for answer in answers}
    for answer in answers:
        if answer.status_code == 409:
            problem(answer, 409, "BEING_COMPLETED")
            assert int(answer.headers["Retry-After"]) >= 1
    assert most[-1] - before <= len(content) + MIB
    assert sum(resident(gateway) for gateway in gateways) - memory < 120 * MIB
    assert complete(gateways[1], announced).status_code == expected
    assert stored(store) == (before if expected == 200 else before - len(content))


def test_a_refusal_is_told_again_and_again_without_a_look_at_the_object(gateways, store):
    one, two = gateways
    before = stored(store)
    announced = sent(one, JUNK)
    first = problem(complete(one, announced), 415, "UNSUPPORTED_IMAGE")
    assert stored(store) == before
    put(announced, JUNK)
    there, memory = stored(store), resident(two)
    with highest(lambda: stored(store)) as most:
        for _ in range(40):
            again = problem(complete(two, announced), 415, "UNSUPPORTED_IMAGE")
            assert again["detail"] == first["detail"]
    assert most[-1] == there
    assert resident(two) - memory < 15 * MIB


def test_what_was_never_sent_makes_no_copy_and_is_no_refusal(gateways, store):
    one, _ = gateways
    body = {"email": "ann@example.com", "contentType": "image/jpeg", "sizeBytes": len(PHOTO)}
    announced = one.http.post("/api/uploads/presign", json=body).json()
    for _ in range(40):
        problem(complete(one, announced), 409, "UPLOAD_INCOMPLETE")
    put(announced, PHOTO)
    assert complete(one, announced).status_code == 200


def test_an_upload_whose_completion_died_with_its_gateway_can_be_completed_a_little_later(gateways):
    one, _ = gateways
    announced = sent(one, PHOTO)
    claim = "UPDATE pending_uploads SET completing_until = now() + %s::interval WHERE id = %s"
    with psycopg.connect(one.stack.database_url, autocommit=True) as conn:
        conn.execute(claim, ("1 minute", announced["uploadId"]))
        problem(complete(one, announced), 409, "BEING_COMPLETED")
        conn.execute(claim, ("-1 second", announced["uploadId"]))
    assert complete(one, announced).status_code == 200


def test_calls_are_limited_for_each_client(gateways, tmp_path, store):
    url = gateways[0].stack.database_url
    env = {"OBJECT_STORE_URL": store.as_uri(), "RATE_LIMIT_COMPLETE": "3"}
    with a_gateway(tmp_path / "limited", url, env=env) as gateway:
        announced = sent(gateway, PHOTO)
        answers = [complete(gateway, announced) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        problem(answers[-1], 429, "RATE_LIMITED")
        assert int(answers[-1].headers["Retry-After"]) >= 1
        nobody = httpx.post(f"{gateway.url}/api/uploads/{announced['uploadId']}/complete")
        problem(nobody, 401, "INVALID_SESSION_TOKEN")
