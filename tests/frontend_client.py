"""A frontend written from the OpenAPI document alone: it is told where that is, and a photo, and shows the finish.

    python -m tests.frontend_client http://127.0.0.1:8000 photo.jpg

It knows operations by their ids and members by the document's schemas, and nothing of the code behind them.
"""

import sys
import time
from pathlib import Path
from urllib.parse import quote

import httpx

POLL = 0.2
PATIENCE = 120.0


class Api:
    """The interface as its document describes it: operations by id, the token where the document wants it."""

    def __init__(self, http):
        self.http = http
        document = http.get("/schema/openapi.json").raise_for_status().json()
        self._schemes = document["components"]["securitySchemes"]
        self._operations = {
            operation["operationId"]: (method.upper(), path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }

    def call(self, operation_id, *, token=None, path=None, headers=None, **body):
        """Call an operation. Raises LookupError where the document does not describe what came back."""
        method, template, operation = self._operations[operation_id]
        headers = dict(headers or {})
        for requirement in operation.get("security", []):
            for name in requirement:
                scheme = self._schemes[name]
                assert (scheme["type"], scheme["in"]) == ("apiKey", "header")
                headers[scheme["name"]] = token
        url = template.format(**{name: quote(value, safe="") for name, value in (path or {}).items()})
        answer = self.http.request(method, url, headers=headers, **body)
        described = operation["responses"].get(str(answer.status_code))
        if described is None:
            raise LookupError(f"{operation_id} answered {answer.status_code}, which its document does not know")
        if answer.is_error:
            problem = answer.json()
            raise RuntimeError(f"{problem['title']}: {problem['detail']} ({problem['code']})")
        return answer


def process(base_url, photo, email, on_status=lambda status: None):
    """Upload, start, poll until done; return the last status and the preview's bytes."""
    with httpx.Client(base_url=base_url, timeout=60) as http:
        api = Api(http)
        upload = api.call("createUpload", files={"image": ("photo", photo)}, data={"email": email}).json()
        token = upload["sessionToken"]
        job = api.call("startProcessing", token=token, json={"uploadId": upload["uploadId"]}).json()
        status = _followed(api, job["jobId"], token, on_status)
        if status["status"] == "failed":
            raise RuntimeError(status["error"]["message"])
        result = api.call("getResult", token=token, path={"resultId": status["resultId"]}).json()
        picture = httpx.get(result["previewUrl"]).raise_for_status()
        assert picture.headers["Content-Type"] == result["contentType"]
        return status, picture.content


def _followed(api, job_id, token, on_status):
    known = ""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        headers = {"If-None-Match": known} if known else {}
        answer = api.call("getStatus", token=token, path={"jobId": job_id}, headers=headers)
        if answer.status_code == 200:
            known = answer.headers["ETag"]
            status = answer.json()
            on_status(status)
            if status["status"] in {"completed", "failed"}:
                return status
        time.sleep(POLL)
    raise TimeoutError(f"job {job_id} did not end within {PATIENCE:.0f} s")


def say(text):
    sys.stdout.write(f"{text}\n")


def main(base_url, photo):
    path = Path(photo)
    _, preview = process(
        base_url, path.read_bytes(), "ann@example.com", lambda status: say(f"{status['progress']} {status['stage']}")
    )
    target = path.with_name(f"{path.stem}-preview.jpg")
    target.write_bytes(preview)
    say(str(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
