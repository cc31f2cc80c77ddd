"""Events on the wire and in the store: what was once written is read for ever, under the same names.

The files in `golden` are what stored streams and waiting messages hold. They are never edited; an event that gains a
member gains a file with it.
"""

import json
from pathlib import Path

import msgspec
import pytest

from contracts.events import EVENT_TYPES, Stage, Status, decode, encode, routing_key
from tests.builders import an_event

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
NAMES = {
    "UploadRegistered": "upload.upload_registered",
    "ProcessingRequested": "upload.processing_requested",
    "ImageValidated": "upload.image_validated",
    "GenerationStarted": "upload.generation_started",
    "ImageGenerated": "upload.image_generated",
    "ResultStored": "upload.result_stored",
    "PreviewWatermarked": "upload.preview_watermarked",
    "ProcessingCompleted": "upload.processing_completed",
    "StageAttemptFailed": "upload.stage_attempt_failed",
    "ProcessingFailed": "upload.processing_failed",
    "ReplayRequested": "upload.replay_requested",
    "UploadErased": "upload.upload_erased",
}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_what_was_once_written_is_still_read_and_nothing_of_it_is_lost(path):
    written = json.loads(path.read_text())

    event = decode(path.read_bytes())

    assert type(event).__name__ == path.name.partition(".")[0]
    assert json.loads(encode(event)).items() >= written.items()


def test_every_event_has_a_golden_example():
    assert {path.name.partition(".")[0] for path in GOLDEN} == {kind.__name__ for kind in EVENT_TYPES}


def test_names_and_routing_keys_stay_what_they_are():
    assert {kind.__name__: routing_key(kind) for kind in EVENT_TYPES} == NAMES


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_an_event_survives_the_way_to_the_store_and_back(kind):
    event = an_event(kind)

    assert decode(encode(event)) == event
    assert json.loads(encode(event))["type"] == kind.__name__


def test_a_member_that_a_later_release_added_does_not_keep_an_event_from_being_read():
    body = json.loads(encode(an_event(EVENT_TYPES[1]))) | {"added_later": 1}

    assert decode(json.dumps(body).encode()) == an_event(EVENT_TYPES[1])


@pytest.mark.parametrize(
    "change",
    [
        {"type": "SomethingElse"},
        {"version": 0},
        {"version": "2"},
        {"upload_id": "no id"},
        {"occurred_at": "yesterday"},
        {"attempt": 0},
        {"original_key": ""},
        {"original_key": "x" * 1025},
        {"workflow_run_id": None},
    ],
    ids=str,
)
def test_what_is_no_event_is_not_taken_for_one(change):
    body = json.loads(encode(an_event(EVENT_TYPES[1]))) | change

    with pytest.raises(msgspec.DecodeError):
        decode(json.dumps(body).encode())


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b"{" * 100_000], ids=lambda body: repr(body[:9])
)
def test_what_is_no_json_object_is_refused_in_good_order(body):
    with pytest.raises((msgspec.DecodeError, RecursionError)) as refused:
        decode(body)

    assert isinstance(refused.value, msgspec.DecodeError)


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_an_event_is_named_by_its_upload_and_version_and_belongs_to_its_run(kind):
    event = an_event(kind, version=7)
    run = getattr(event, "workflow_run_id", None)

    assert event.message_id == f"{event.upload_id}:7"
    assert event.correlation_id == (str(run) if run else None)
    assert (event.originator_id, event.originator_version) == (event.upload_id, 7)


def test_statuses_and_stages_stay_what_clients_know():
    assert list(Status) == ["pending", "processing", "completed", "failed"]
    assert list(Stage) == ["validating", "generating", "storing", "watermarking", "complete"]


def test_an_event_cannot_be_changed():
    with pytest.raises(AttributeError):
        an_event(EVENT_TYPES[0]).version = 2
