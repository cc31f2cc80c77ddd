"""SIGKILL for one container after the other while uploads come in: a 202 still means that the run ends well."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from itertools import count
from uuid import UUID

import pytest

from contracts.events import ImageGenerated, PreviewWatermarked, ProcessingCompleted, ResultStored
from shared.upload.saga import SERVICES
from tests.chaos.load import Load
from tests.containers.compose import ComposeStack
from tests.waiting import until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

UPLOADS = 16
ONCE = (ImageGenerated, ResultStored, PreviewWatermarked, ProcessingCompleted)
SEEDS = count(1)

# The stand-in that some machines have for S3 keeps nothing, so that it is not among those that are killed.
SERVERS = ("postgres", "rabbitmq")


@pytest.mark.parametrize("service", [*SERVICES, *SERVERS])
async def test_killing_a_container_under_load_loses_no_upload(stack: ComposeStack, service: str) -> None:
    async with under_load(stack):
        container = stack.container(service)
        await asyncio.to_thread(container.kill)
        await asyncio.to_thread(container.wait)
        await asyncio.to_thread(container.start)


async def test_restarting_rabbitmq_under_load_loses_no_upload(stack: ComposeStack) -> None:
    async with under_load(stack):
        await asyncio.to_thread(stack.container("rabbitmq").restart, timeout=30)


@contextlib.asynccontextmanager
async def under_load(stack: ComposeStack) -> AsyncIterator[None]:
    """Do something while uploads come in; afterwards each of them has to end well, with each effect once."""
    load = Load(stack.url, sagas=UPLOADS, rate=4, seed=next(SEEDS))
    coming_in = asyncio.create_task(load.run())
    await until(lambda: len(load.accepted) >= UPLOADS // 4, within=60)
    yield
    await coming_in
    stack.wait_until_all_ended(within=180)

    assert len(load.accepted) == UPLOADS
    found = stack.events()
    for upload in load.accepted:
        kinds = Counter(type(event) for event in found[UUID(upload)])
        assert [kinds[once] for once in ONCE] == [1] * len(ONCE), f"{upload}: {kinds}"
