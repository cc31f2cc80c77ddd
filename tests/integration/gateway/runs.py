"""A run's events, appended as the stages would append them, and a client that follows them."""

import contextlib
import datetime as dt
import json
import uuid

from contracts.events import (
    GenerationStarted,
    ImageGenerated,
    ImageValidated,
    PreviewWatermarked,
    ProcessingCompleted,
    ProcessingFailed,
    ResultStored,
    Stage,
    StageAttemptFailed,
)
from shared.eventstore.application import UploadsApplication
from shared.projection.uploads import changes_of


class Run:
    """The run of one upload, as far as it has come. Each `append` is one transaction, with its NOTIFY."""

    def __init__(self, database_url, upload_id, workflow_run_id):
        self._application = UploadsApplication(database_url, pool_size=1)
        self.upload_id = uuid.UUID(upload_id)
        self.workflow_run_id = uuid.UUID(workflow_run_id)
        self.result_id = uuid.uuid4()
        self.attempt = 1

    def close(self):
        self._application.close()

    def append(self, *kinds_and_contents):
        version = len(self._application.history(self.upload_id))
        events = [
            kind(
                upload_id=self.upload_id,
                workflow_run_id=self.workflow_run_id,
                version=version + nth,
                occurred_at=dt.datetime.now(dt.UTC),
                attempt=self.attempt,
                **content,
            )
            for nth, (kind, content) in enumerate(kinds_and_contents, start=1)
        ]
        self._application.save(*events, changes=[changes_of(events)])

    def validated(self):
        self.append((ImageValidated, {"original_key": "o", "format": "jpeg", "sha256": "0" * 64, **PICTURE}))

    def generation_started(self, call=1):
        now = dt.datetime.now(dt.UTC)
        self.append((GenerationStarted, {"worker": "w", "call": call, "lease_until": now + dt.timedelta(minutes=3)}))

    def attempt_failed(self):
        failure = {"stage": Stage.GENERATING, "stage_attempt": 1, "code": "PROVIDER_BUSY", "message": "Busy."}
        self.append((StageAttemptFailed, {**failure, "retry_at": dt.datetime.now(dt.UTC)}))

    def generated(self):
        content = {"generated_key": "g", "generation": 1, "provider": "local", "model": "m", **TYPED}
        self.append((ImageGenerated, content))

    def stored(self):
        self.append((ResultStored, {"result_id": self.result_id, "result_key": "results/r", **TYPED}))

    def completed(self):
        self.append(
            (PreviewWatermarked, {"preview_key": "previews/p.jpg", **TYPED}),
            (ProcessingCompleted, {"result_id": self.result_id, "preview_key": "previews/p.jpg"}),
        )

    def failed(self, *, retryable=True):
        content = {"stage": Stage.GENERATING, "code": "PROVIDER_BUSY", "message": "Busy.", "retryable": retryable}
        self.append((ProcessingFailed, content))

    def to_the_end(self):
        """Return the steps that end the run well, one append each, with a failed try on the way."""
        return [
            self.validated,
            self.generation_started,
            self.attempt_failed,
            lambda: self.generation_started(call=2),
            self.generated,
            self.stored,
            self.completed,
        ]


PICTURE = {"width": 320, "height": 240, "size_bytes": 1000}
TYPED = {"content_type": "image/jpeg", **PICTURE}


@contextlib.contextmanager
def a_run(gateway):
    """Upload, start, and give (the run, headers of its owner)."""
    upload_id, token = gateway.upload()
    answer = gateway.client.start(upload_id, token)
    run = Run(gateway.stack.database_url, upload_id, answer.json()["workflowRunId"])
    with contextlib.closing(run):
        yield run, {"X-Session-Token": token}


def events_of(lines):
    """Read server-sent events off a response's lines: (id, body) for each."""
    number = None
    for line in lines:
        name, _, value = line.partition(":")
        if name == "id":
            number = int(value)
        elif name == "data":
            yield number, json.loads(value)


def follow(gateway, run, headers, *, after=0, stop_after=None):
    """Follow a run to its end, or break off after so many events."""
    got = []
    with gateway.http.stream(
        "GET", f"/api/status/{run.upload_id}/events", headers={**headers, "Last-Event-ID": str(after)}
    ) as answer:
        if answer.status_code == 204:
            return got
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        for event in events_of(answer.iter_lines()):
            got.append(event)
            if len(got) == stop_after:
                break
    return got
