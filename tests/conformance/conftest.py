"""Fixtures of the object store's suite. An adapter says, as `settings`, what `open_object_store` is to open."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from shared.storage.open import open_object_store
from shared.storage.port import ObjectStore
from tests.s3_server import s3_server

Settings = dict[str, str]


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Return the endpoint URL of a running S3 server without buckets."""
    with s3_server() as endpoint:
        yield endpoint


@pytest_asyncio.fixture
async def store(settings: Settings) -> AsyncIterator[ObjectStore]:
    """Open an empty store."""
    store = open_object_store(**settings)
    yield store
    await store.close()


@pytest_asyncio.fixture
async def another(settings: Settings) -> AsyncIterator[ObjectStore]:
    """Open the same store once more, as another process would."""
    store = open_object_store(**settings)
    yield store
    await store.close()


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[httpx.AsyncClient]:
    """Return somebody who knows nothing but a URL."""
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client
