"""A PostHog for tests: takes captures over real HTTP, from browsers one by one and from servers in batches."""

import contextlib
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Posthog:
    """What was captured so far: from pages, and from servers. `raw` is every body as it came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.raw: list[str] = []
        self.from_pages: list[dict[str, object]] = []
        self.from_servers: list[dict[str, object]] = []

    def take(self, path: str, body: str) -> None:
        self.raw.append(body)
        if path == "/i/v0/e/":
            self.from_pages.append(json.loads(body))
        else:
            self.from_servers.extend(json.loads(body)["batch"])


def starts(captures: list[dict[str, object]], upload_id: str) -> list[dict[str, object]]:
    """Return those captures that say that this upload's processing started."""
    return [
        capture
        for capture in captures
        if capture["event"] == "processing_started" and capture["properties"]["upload_id"] == upload_id
    ]


@contextlib.contextmanager
def serving_posthog() -> Iterator[Posthog]:
    """Serve on 127.0.0.1 while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            posthog.take(self.path, body.decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        posthog = Posthog(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield posthog
        server.shutdown()
        thread.join()
