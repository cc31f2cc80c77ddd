"""An S3 server for tests: moto in a process of its own, with the check of presigned URLs that moto leaves out.

In its own process, because importing moto changes botocore for everybody in it. Run as a module it prints its endpoint.
"""

import contextlib
import datetime as dt
import hashlib
import hmac
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

ACCESS_KEY_ID = "AKIATESTTESTTESTTEST"
SECRET_ACCESS_KEY = "test-secret-that-must-not-show"
_REPOSITORY = Path(__file__).parents[1]

_Environ = dict[str, Any]
_App = Callable[[_Environ, Callable[..., Any]], Iterable[bytes]]


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Run the server on a free port and return its endpoint URL; buckets are made by whoever needs one."""
    command = [sys.executable, "-m", "tests.s3_server"]
    with subprocess.Popen(
        command, cwd=_REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            endpoint = process.stdout.readline().strip() if process.stdout else ""
            if not endpoint:
                msg = f"the S3 server did not start: {process.wait(5)}"
                raise RuntimeError(msg)
            yield endpoint
        finally:
            process.kill()


def check_presigned(app: _App) -> _App:
    """Refuse presigned requests whose signature (version 4) does not fit or whose time is over, as real stores do."""

    def checked(environ: _Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        query = dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        code = _refusal(environ, query) if "X-Amz-Signature" in query else None
        if code is None:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code></Error>".encode()]

    return checked


def _refusal(environ: _Environ, query: dict[str, str]) -> str | None:
    signature = query.pop("X-Amz-Signature")
    if not hmac.compare_digest(signature.encode(), _signature(environ, query).encode()):
        return "SignatureDoesNotMatch"
    signed_at = dt.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    if dt.datetime.now(dt.UTC) > signed_at + dt.timedelta(seconds=int(query["X-Amz-Expires"])):
        return "AccessDenied"
    return None


def _signature(environ: _Environ, query: dict[str, str]) -> str:
    """Compute what the URL's signature should be; the steps and their names are those of Signature Version 4."""
    signed = query["X-Amz-SignedHeaders"].split(";")
    canonical_request = "\n".join(
        [
            environ["REQUEST_METHOD"],
            environ["RAW_URI"].partition("?")[0],
            "&".join(sorted(f"{quote(name, safe='-_.~')}={quote(text, safe='-_.~')}" for name, text in query.items())),
            *(f"{name}:{_header(environ, name)}" for name in signed),
            "",
            ";".join(signed),
            "UNSIGNED-PAYLOAD",
        ]
    )
    _, *scope = query["X-Amz-Credential"].split("/")
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    string_to_sign = "\n".join(["AWS4-HMAC-SHA256", query["X-Amz-Date"], "/".join(scope), digest])
    key = f"AWS4{SECRET_ACCESS_KEY}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, string_to_sign.encode(), "sha256").hex()


def _header(environ: _Environ, name: str) -> str:
    variable = name.upper().replace("-", "_")
    plain = {"CONTENT_TYPE", "CONTENT_LENGTH"}
    return str(environ.get(variable if variable in plain else f"HTTP_{variable}", "")).strip()


def _serve() -> None:
    # Here, for the process that imports this module only to start the other one.
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    app = check_presigned(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    os.write(1, f"http://127.0.0.1:{server.server_port}\n".encode())
    server.serve_forever()


if __name__ == "__main__":
    _serve()
