"""Durations per stage, and what is captured of which event."""

import datetime as dt
from uuid import UUID

from contracts.events import (
    Event,
    ImageGenerated,
    ImageValidated,
    PreviewWatermarked,
    ProcessingCompleted,
    ProcessingRequested,
    ResultStored,
    UploadRegistered,
)
from services.analytics.captures import capture_of

UPLOAD, RUN, RESULT = UUID(int=1), UUID(int=2), UUID(int=3)
BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def a_completed_run() -> list[Event]:
    """Validated after 1 s, generated after 61, stored after 62, watermarked after 64."""

    def at(version: int, seconds: int) -> dict[str, object]:
        return {"upload_id": UPLOAD, "version": version, "occurred_at": BEGIN + dt.timedelta(seconds=seconds)}

    run: dict[str, object] = {"workflow_run_id": RUN, "attempt": 1}
    picture: dict[str, object] = {"content_type": "image/jpeg", "width": 9, "height": 9, "size_bytes": 9}
    original: dict[str, object] = {"original_key": "o"}
    registered = {"email": "ann@example.com", "session_token_digest": "d" * 64}
    return [
        UploadRegistered(**at(1, -5), **original, **registered, **picture),  # type: ignore[arg-type]
        ProcessingRequested(**at(2, 0), **run, **original, deadline_at=BEGIN),  # type: ignore[arg-type]
        ImageValidated(**at(3, 1), **run, **original, width=9, height=9, format="jpeg", sha256="", size_bytes=9),  # type: ignore[arg-type]
        ImageGenerated(**at(4, 61), **run, **picture, generated_key="g", generation=1, provider="local", model="m"),  # type: ignore[arg-type]
        ResultStored(**at(5, 62), **run, **picture, result_id=RESULT, result_key="r"),  # type: ignore[arg-type]
        PreviewWatermarked(**at(6, 64), **run, **picture, preview_key="p"),  # type: ignore[arg-type]
        ProcessingCompleted(**at(7, 64), **run, result_id=RESULT, preview_key="p"),  # type: ignore[arg-type]
    ]


def test_a_completed_run_says_how_long_each_stage_took() -> None:
    history = a_completed_run()

    capture = capture_of(history[-1], history)

    assert capture is not None
    assert capture.name == "processing_completed"
    assert capture.properties["durations"] == {
        "validating": 1.0,
        "generating": 60.0,
        "storing": 1.0,
        "watermarking": 2.0,
        "total": 64.0,
    }


def test_a_capture_has_the_same_uuid_at_every_delivery_and_another_for_every_event() -> None:
    history = a_completed_run()

    captures = [capture_of(history[index], history) for index in (1, 1, -1)]

    first, again, end = (capture.uuid for capture in captures if capture is not None)
    assert first == again
    assert first != end


def test_events_between_start_and_end_are_not_captured() -> None:
    history = a_completed_run()

    assert [capture_of(event, history) for event in history[2:6]] == [None] * 4
