"""One round of work: photos that are taken, and everything that is refused, each on its own way."""

import asyncio
import contextlib
import os
import struct
import zlib

import aio_pika
import httpx

from shared.messaging.topology import QUEUES
from tests.photos import a_jpeg, png_chunk
from tests.stack import Stack

EMAIL = {"email": "ann@example.com"}


def a_broken_png(size: int) -> bytes:
    """Return a PNG whose header is sound and whose pixels are not: only who decodes it finds that out."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2_000, 2_000, 8, 2, 0, 0, 0))
    pixels = zlib.compress(os.urandom(1_000)) + os.urandom(size)
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", pixels)


class Rounds:
    """Sends rounds of work to a running stack. `size` is that of the pictures that are refused, in bytes."""

    def __init__(self, stack: Stack, size: int) -> None:
        self._stack = stack
        self._good = a_jpeg(640, 480)
        self._broken = a_broken_png(size)
        self._junk = os.urandom(size)
        self.refused = 0

    async def one(self) -> None:
        """Do a round: one photo to its end, and beside it all that is refused."""
        async with httpx.AsyncClient(base_url=self._stack.url, timeout=60) as http:
            await asyncio.gather(
                self._to_the_end(http, self._good, "completed"),
                self._to_the_end(http, self._broken, "failed"),
                self._refused_at_once(http),
                self._direct(http),
                self._hang_up(),
                self._unreadable(),
            )

    async def _to_the_end(self, http: httpx.AsyncClient, photo: bytes, ending: str) -> None:
        answer = await http.post("/api/uploads", files={"image": ("photo", photo)}, data=EMAIL)
        assert answer.status_code == 201, answer.text
        upload_id, headers = answer.json()["uploadId"], {"X-Session-Token": answer.json()["sessionToken"]}
        await http.post("/api/process", json={"uploadId": upload_id}, headers=headers)
        async with http.stream("GET", f"/api/status/{upload_id}/events", headers=headers) as stream:
            async for line in stream.aiter_lines():
                if f'"status":"{ending}"' in line:
                    break
            else:
                raise AssertionError(f"upload {upload_id} did not end as {ending}")
        self.refused += ending == "failed"

    async def _refused_at_once(self, http: httpx.AsyncClient) -> None:
        for picture in (self._junk, a_jpeg(32, 32), self._good[:100]):
            answer = await http.post("/api/uploads", files={"image": ("photo", picture)}, data=EMAIL)
            assert 400 <= answer.status_code < 500, answer.text
            self.refused += 1

    async def _direct(self, http: httpx.AsyncClient) -> None:
        wanted = {**EMAIL, "contentType": "image/png", "sizeBytes": len(self._junk)}
        presigned = (await http.post("/api/uploads/presign", json=wanted)).json()
        sent = await http.put(presigned["url"], content=self._junk, headers=presigned["headers"])
        assert sent.status_code == 200, sent.text
        headers = {"X-Session-Token": presigned["sessionToken"]}
        for _ in range(2):
            answer = await http.post(f"/api/uploads/{presigned['uploadId']}/complete", headers=headers)
            assert answer.status_code == 415, answer.text
            self.refused += 1

    async def _hang_up(self) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self._stack.port)
        writer.write(b"POST /api/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n")
        writer.write(b'Content-Length: 9999999\r\n\r\n--b\r\nContent-Disposition: form-data; name="image"; ')
        writer.write(b'filename="p"\r\n\r\n' + self._junk[:100_000])
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.transport.abort()

    async def _unreadable(self) -> None:
        async with await aio_pika.connect(self._stack.env["AMQP_URL"]) as connection, connection.channel() as channel:
            for queue in QUEUES:
                await channel.default_exchange.publish(aio_pika.Message(b"\xff" + self._junk[:10_000]), queue)
