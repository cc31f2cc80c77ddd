"""What a page may load and whom it may speak to."""

import pytest

from services.gateway.pages.policy import origin, page_headers
from shared.settings import Analytics
from shared.storage.open import open_object_store

A_BUCKET = {"s3_access_key_id": "id", "s3_secret_access_key": "secret"}


async def policy(url, *, analytics=Analytics(), **store):  # noqa: B008 — frozen
    objects = open_object_store(url, public_base_url="http://127.0.0.1:8000", **store)
    try:
        headers = await page_headers(objects, analytics)
    finally:
        await objects.close()
    parts = (part.split(" ") for part in headers["Content-Security-Policy"].split("; "))
    return {name: set(sources) for name, *sources in parts}


@pytest.mark.parametrize(
    ("where", "host"),
    [
        ({"s3_endpoint_url": "https://s3.example.com"}, "s3.example.com"),
        ({"s3_region": "eu-central-1"}, "amazonaws.com"),
        (
            {"s3_endpoint_url": "http://minio:9000", "s3_public_endpoint_url": "https://pictures.example"},
            "pictures.example",
        ),
    ],
)
async def test_pictures_may_come_from_wherever_the_store_signs_its_links_for(where, host):
    directives = await policy("s3://bucket", **where, **A_BUCKET)
    for name in ("img-src", "connect-src"):
        [store] = [source for source in directives[name] if source.startswith("http")]
        assert store.startswith("https://")
        assert store.endswith(host)


async def test_posthog_may_be_spoken_to_only_with_a_key(tmp_path):
    host = "https://eu.posthog.example/some/path"
    silent = await policy(tmp_path.as_uri(), analytics=Analytics(posthog_host=host))
    speaking = await policy(tmp_path.as_uri(), analytics=Analytics(posthog_host=host, posthog_api_key="phc_x"))
    assert silent["connect-src"] == {"'self'", "http://127.0.0.1:8000"}
    assert speaking["connect-src"] - silent["connect-src"] == {"https://eu.posthog.example"}
    assert speaking["default-src"] == {"'self'"}


def test_a_setting_cannot_add_a_directive():
    assert origin("https://user:secret@evil.example;script-src*/x") == "https://evil.examplescript-src*"
