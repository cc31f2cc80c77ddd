"""Events and streams for tests: sound defaults, and the one thing that matters about each."""

import datetime as dt
from uuid import UUID, uuid4

from msgspec.structs import asdict, replace

from contracts.events import (
    Event,
    GenerationStarted,
    ImageGenerated,
    ImageValidated,
    PreviewWatermarked,
    ProcessingCompleted,
    ProcessingFailed,
    ProcessingRequested,
    ReplayRequested,
    ResultStored,
    Stage,
    StageAttemptFailed,
    UploadErased,
    UploadRegistered,
)
from shared.upload.upload import Upload, fold

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
UPLOAD = UUID("01890000-0000-7000-8000-000000000001")
RUN = UUID("01890000-0000-7000-8000-0000000000ff")
RESULT = UUID("01890000-0000-7000-8000-0000000000aa")

_PICTURE = {"content_type": "image/png", "width": 640, "height": 480, "size_bytes": 5000}
CONTENT = {
    UploadRegistered: {
        "email": "ann@example.com",
        "session_token_digest": "0" * 64,
        "original_key": f"originals/{UPLOAD}",
        **_PICTURE,
    },
    ProcessingRequested: {"original_key": f"originals/{UPLOAD}", "deadline_at": NOW + dt.timedelta(minutes=30)},
    ImageValidated: {
        "original_key": f"originals/{UPLOAD}",
        "width": 640,
        "height": 480,
        "format": "png",
        "sha256": "f" * 64,
        "size_bytes": 5000,
    },
    GenerationStarted: {"worker": "host:1", "call": 1, "lease_until": NOW + dt.timedelta(minutes=3)},
    ImageGenerated: {
        "generated_key": f"generated/{UPLOAD}/{RUN}/1",
        "generation": 1,
        "provider": "local",
        "model": "paint",
        **_PICTURE,
    },
    ResultStored: {"result_id": RESULT, "result_key": f"results/{UPLOAD}/{RESULT}", **_PICTURE},
    PreviewWatermarked: {"preview_key": f"previews/{UPLOAD}/{RESULT}.jpg", **_PICTURE},
    ProcessingCompleted: {"result_id": RESULT, "preview_key": f"previews/{UPLOAD}/{RESULT}.jpg"},
    StageAttemptFailed: {
        "stage": Stage.VALIDATING,
        "stage_attempt": 1,
        "code": "BUSY",
        "message": "Later.",
        "retry_at": NOW + dt.timedelta(seconds=9),
    },
    ProcessingFailed: {"stage": Stage.VALIDATING, "code": "BROKEN", "message": "It is broken.", "retryable": True},
    ReplayRequested: {
        "from_stage": Stage.VALIDATING,
        "requested_by": "user",
        "reason": "again",
        "deadline_at": NOW + dt.timedelta(minutes=40),
    },
    UploadErased: {"requested_by": "user", "reason": "asked to be forgotten"},
}
_WITHOUT_RUN = (UploadRegistered, UploadErased)

A_WHOLE_RUN = (
    UploadRegistered,
    ProcessingRequested,
    ImageValidated,
    GenerationStarted,
    ImageGenerated,
    ResultStored,
    PreviewWatermarked,
    ProcessingCompleted,
)


def an_event(kind: type[Event], **content) -> Event:
    """Return an event of a kind; what is not said is sound and the same every time."""
    identity = {"upload_id": UPLOAD, "version": 1, "occurred_at": NOW}
    if kind not in _WITHOUT_RUN:
        identity |= {"workflow_run_id": RUN, "attempt": 1}
    sound = _with_own_keys(CONTENT[kind], content.get("upload_id", UPLOAD))
    return kind(**{**identity, **sound, **content})


def _with_own_keys(content, upload_id: UUID):
    """Have the keys in an event's content be those of this upload."""
    return {
        name: value.replace(str(UPLOAD), str(upload_id)) if name.endswith("_key") else value
        for name, value in content.items()
    }


def a_stream(*events: Event | type[Event], upload_id: UUID = UPLOAD, run_id: UUID = RUN, after: int = 0) -> list[Event]:
    """Number events (or kinds) as the stream of one upload, from version `after` + 1, a second between them."""
    numbered = []
    for version, given in enumerate(events, start=after + 1):
        event = given if not isinstance(given, type) else an_event(given)
        identity = {
            "upload_id": upload_id,
            "version": version,
            "occurred_at": NOW + dt.timedelta(seconds=version),
            "workflow_run_id": run_id,
        }
        identity |= _with_own_keys({n: v for n, v in asdict(event).items() if n.endswith("_key")}, upload_id)
        numbered.append(replace(event, **{name: value for name, value in identity.items() if name in asdict(event)}))
    return numbered


def a_run_up_to(kind: type[Event], **identity: UUID) -> list[Event]:
    """Return the stream of a run that goes well, as far as its event of this kind."""
    return a_stream(*A_WHOLE_RUN[: A_WHOLE_RUN.index(kind) + 1], **identity)


def an_upload(*events: Event | type[Event], **identity: UUID) -> Upload:
    """Return the aggregate that a stream folds into."""
    upload = fold(None, a_stream(*events, **identity))
    assert upload is not None
    return upload


def a_registered_upload(upload_id: UUID | None = None) -> UploadRegistered:
    """Return the first event of an upload of its own."""
    return an_event(UploadRegistered, upload_id=upload_id or uuid4())
