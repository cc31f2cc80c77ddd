"""A Gemini REST server for tests: real HTTP, a picture made of the photo that came in, every way to fail on demand.

In a test `async with serving() as gemini:`, beside other loops `with serving_in_thread() as gemini:`, and by itself
`python -m tests.gemini_server --port 8900 --mode slow:2`. What the next calls meet is said by a mode, `name:argument`:

    ok                  a picture: the photo with its colours inverted, a PNG
    slow:SECONDS        ok, later
    429:7  503  400 …   any status; the argument is its Retry-After, or with `info=22s` a RetryInfo in the body
    auth:400            a wrong key, as 400, 401 or 403; the answer quotes the key
    blocked:REASON      a photo refused by promptFeedback; with a REASON, by the candidate's finishReason
    text  draft         no picture, only words · only a thinking model's draft of one
    broken  truncated   bytes that are no picture · half a picture
    continuation        words, and a token with which to ask for the rest
    garbage             200, and no JSON
    huge                200, and a body that goes on for 300 MB
    drop  hang          the connection is closed · nothing ever comes

`POST /control {"mode": "ok", "script": ["429:1", "slow:2"], "reset": true}` sets them: the script is for the next
calls, one each, and `mode` for those after it. `GET /control` counts the calls.
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pyvips
from aiohttp import web

NAMES = frozenset(
    {
        "ok",
        "slow",
        "auth",
        "blocked",
        "text",
        "draft",
        "broken",
        "truncated",
        "continuation",
        "garbage",
        "huge",
        "drop",
        "hang",
    }
)


class Gemini:
    """What a test sets and reads. Images are counted by the SHA-256 of the photo's bytes, in hex.

    A call has `begun` when its body has been read, is `finished` when an answer went out, `drawn` when it was a
    picture (Google would bill it), `abandoned` when the caller hung up before.
    """

    def __init__(self, mode: str = "ok") -> None:
        self.url = ""
        self.last_request: dict[str, Any] = {}
        self.last_headers: Mapping[str, str] = {}
        self.reset(mode)

    def reset(self, mode: str = "ok") -> None:
        self.use(mode)
        self.begun = self.finished = self.drawn = self.abandoned = 0
        self.begun_by_image, self.finished_by_image = Counter[str](), Counter[str]()
        self.drawn_by_image, self.begun_by_model = Counter[str](), Counter[str]()

    def use(self, mode: str = "ok", *script: str) -> None:
        """Set the modes of the next calls, one each, and of those after. Raises ValueError on an unknown one."""
        for each in (mode, *script):
            name = each.partition(":")[0]
            if name not in NAMES and not name.isdecimal():
                raise ValueError(f"{each!r} is not a mode")
        self.mode, self.script = mode, deque(script)

    def next_mode(self) -> str:
        return self.script.popleft() if self.script else self.mode

    def counts(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if isinstance(value, int | Counter)}

    async def generate(self, request: web.Request) -> web.StreamResponse:
        self.last_request, self.last_headers = await request.json(), request.headers.copy()
        photo = _photo_in(self.last_request)
        image = hashlib.sha256(photo).hexdigest()
        self.begun += 1
        self.begun_by_image[image] += 1
        self.begun_by_model[request.match_info["model"]] += 1
        try:
            answer = await _answer(self.next_mode(), request, photo)
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        self.finished += 1
        self.finished_by_image[image] += 1
        if answer.headers.get("X-Drawn"):
            self.drawn += 1
            self.drawn_by_image[image] += 1
        return answer

    async def control(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            body = await request.json()
            try:
                if body.get("reset"):
                    self.reset()
                self.use(body.get("mode", "ok"), *body.get("script", ()))
            except ValueError as error:
                raise web.HTTPBadRequest(text=str(error)) from error
        return web.json_response({**self.counts(), "mode": self.mode, "script": list(self.script)})


async def _answer(mode: str, request: web.Request, photo: bytes) -> web.StreamResponse:
    name, _, argument = mode.partition(":")
    if name == "slow":
        await asyncio.sleep(float(argument or 1))
    if name in {"drop", "hang"}:
        if name == "drop" and request.transport:
            request.transport.close()
        await asyncio.Event().wait()
    if name.isdecimal():
        return _error(int(name), argument)
    if name == "huge":
        return await _huge(request)
    if name == "auth":
        return _no_key(int(argument or 400), request.headers.get("x-goog-api-key", ""))
    return _no_picture(name, argument) or await _picture(name, photo)


async def _huge(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    for _ in range(300):
        await answer.write(b" " * 1_000_000)
    return answer


def _no_picture(name: str, argument: str) -> web.Response | None:
    words = {"content": {"role": "model", "parts": [{"text": "Here is your picture!"}]}}
    match name:
        case "text":
            return _candidate(words)
        case "continuation":
            return _candidate({**words, "continuationToken": base64.b64encode(b"more").decode()}, "CONTINUATION")
        case "blocked" if argument:
            return _candidate({}, argument)
        case "blocked":
            return web.json_response({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})
        case "garbage":
            return web.Response(text="<html>It works!</html>", content_type="text/html")
    return None


async def _picture(name: str, photo: bytes) -> web.Response:
    try:
        drawn = await asyncio.to_thread(_inverted, photo)
    except pyvips.Error:
        return _error(400, message="Unable to process input image.")
    data = {"broken": b"this is no picture", "truncated": drawn[: len(drawn) // 2]}.get(name, drawn)
    part = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}}
    answer = _candidate({"content": {"role": "model", "parts": [part | {"thought": name == "draft"}]}})
    answer.headers["X-Drawn"] = "1"
    return answer


def _inverted(photo: bytes) -> bytes:
    image = pyvips.Image.new_from_buffer(photo, "").colourspace("srgb")
    image = image.flatten() if image.hasalpha() else image
    return bytes(image.invert().pngsave_buffer(strip=True))


def _photo_in(body: dict[str, Any]) -> bytes:
    parts = [part for content in body["contents"] for part in content["parts"]]
    data = next((part["inlineData"]["data"] for part in parts if "inlineData" in part), "")
    # Google reads both alphabets; its SDK writes the one for URLs.
    return base64.b64decode(data.replace("-", "+").replace("_", "/"))


def _candidate(candidate: dict[str, Any], finish_reason: str = "STOP") -> web.Response:
    return web.json_response({"candidates": [{"index": 0, "finishReason": finish_reason, **candidate}]})


def _no_key(status: int, key: str) -> web.Response:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    return _error(status, message=f"Consumer 'api_key:{key}' is not known.", details=details)


def _error(
    status: int, argument: str = "", *, message: str = "As asked.", details: list[dict[str, str]] | None = None
) -> web.Response:
    wait, _, delay = argument.partition("info=")
    if delay:
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    names = {429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED", 404: "NOT_FOUND"}
    error = {"code": status, "message": message, "status": names.get(status, "INTERNAL"), "details": details or []}
    headers = {"Retry-After": wait.rstrip(",")} if wait else {}
    return web.json_response({"error": error}, status=status, headers=headers)


@contextlib.asynccontextmanager
async def serving(mode: str = "ok", port: int = 0) -> AsyncIterator[Gemini]:
    """Serve on 127.0.0.1 while the block runs; port 0 takes a free one. The address is in `url`."""
    gemini, app = Gemini(mode), web.Application(client_max_size=128 * 2**20)
    app.router.add_post("/v1beta/models/{model:[^:/]+}:generateContent", gemini.generate)
    app.router.add_route("GET", "/control", gemini.control)
    app.router.add_route("POST", "/control", gemini.control)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        gemini.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield gemini
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def serving_in_thread(mode: str = "ok", port: int = 0) -> Iterator[Gemini]:
    """Serve from a loop of its own, for tests that have none or block theirs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="gemini", daemon=True)
    thread.start()
    server = serving(mode, port)
    try:
        yield asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _main() -> None:
    parser = argparse.ArgumentParser(description="Serve a Gemini that draws nothing and can fail in every way.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--mode", default="ok")
    options = parser.parse_args()
    async with serving(options.mode, options.port) as gemini:
        print(json.dumps({"url": gemini.url}), flush=True)  # noqa: T201 — whoever started it reads the address
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())
