"""The people: they upload, start, and remember which starts were accepted."""

import asyncio
import contextlib
import hashlib
import io
import random

import httpx
from PIL import Image

from services.generator.prepare import prepare


class Load:
    """Starts `sagas` runs, `rate` a second. `accepted` has the uploads whose 202 was seen; `photos` their hashes.

    A photo's hash is that of what the provider gets, so that calls can be counted by upload.
    """

    def __init__(self, url: str, sagas: int, rate: float, seed: int) -> None:
        self.accepted: set[str] = set()
        self.photos: dict[str, str] = {}
        self.refused = 0
        self._url = url
        self._sagas = sagas
        self._rate = rate
        self._seed = seed

    async def run(self) -> None:
        """Do it all. A person whose request fails tries again, as people do."""
        async with httpx.AsyncClient(base_url=self._url, timeout=8, limits=httpx.Limits(max_connections=64)) as client:
            people = []
            for number in range(self._sagas):
                people.append(asyncio.create_task(self._person(client, number)))
                await asyncio.sleep(1 / self._rate)
            await asyncio.gather(*people)

    async def _person(self, client: httpx.AsyncClient, number: int) -> None:
        photo = a_small_photo(self._seed * 1_000_003 + number)
        upload_id, token = await self._uploaded(client, photo)
        self.photos[upload_id] = hashlib.sha256(prepare(photo)).hexdigest()
        await self._started(client, upload_id, token)

    async def _uploaded(self, client: httpx.AsyncClient, photo: bytes) -> tuple[str, str]:
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await client.post(
                    "/api/uploads", files={"image": ("photo.png", photo)}, data={"email": "ann@example.com"}
                )
                if answer.status_code == 201:
                    body = answer.json()
                    return body["uploadId"], body["sessionToken"]
            self.refused += 1
            await asyncio.sleep(0.3)

    async def _started(self, client: httpx.AsyncClient, upload_id: str, token: str) -> None:
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await client.post(
                    "/api/process", json={"uploadId": upload_id}, headers={"X-Session-Token": token}
                )
                # A 409 is the answer to the second try of a start whose 202 was lost.
                if answer.status_code in (202, 409):
                    self.accepted.add(upload_id)
                    return
            self.refused += 1
            await asyncio.sleep(0.3)


def a_small_photo(seed: int) -> bytes:
    """Make a picture that no other seed gives: 64 by 64 pixels of random blocks, as a PNG."""
    chance = random.Random(seed)
    image = Image.frombytes("RGB", (8, 8), chance.randbytes(192)).resize((64, 64), Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
