"""What each event does to its upload's row."""

import pytest
from hypothesis import given, settings

from contracts.events import (
    EVENT_TYPES,
    GenerationStarted,
    ImageGenerated,
    ProcessingFailed,
    ProcessingRequested,
    ReplayRequested,
    ResultStored,
    Stage,
    StageAttemptFailed,
    Status,
    UploadErased,
)
from shared.projection.uploads import COLUMNS, change_of, changes_of, merge
from shared.upload.upload import fold
from tests.builders import A_WHOLE_RUN, RUN, a_run_up_to, a_stream, an_event
from tests.streams import legal_streams


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_event_moves_the_version_and_the_time_of_its_row(kind):
    event = an_event(kind, version=7)

    change = change_of(event)

    assert (change.id, change.version, change.updated_at) == (event.upload_id, 7, event.occurred_at)


@settings(max_examples=100, deadline=None)
@given(legal_streams())
def test_the_row_tells_of_a_stream_what_the_aggregate_does(stream):
    row, upload = changes_of(stream), fold(None, stream)

    assert (row.status, row.stage, row.attempt) == (upload.status, upload.stage, upload.attempt)
    assert (row.workflow_run_id, row.result_id, row.version) == (
        upload.workflow_run_id,
        upload.result_id,
        upload.version,
    )


@settings(max_examples=100, deadline=None)
@given(legal_streams())
def test_progress_never_goes_back_however_often_a_run_is_replayed(stream):
    figures = [changes_of(stream[:length]).progress for length in range(1, len(stream) + 1)]

    assert figures == sorted(figures)
    assert all(0 <= figure <= 100 for figure in figures)


def test_an_error_shows_until_the_run_is_replayed():
    failed = an_event(ProcessingFailed, code="BUSY", message="Later.", retryable=True)
    stream = a_stream(*A_WHOLE_RUN[:2], failed, an_event(ReplayRequested, attempt=2))

    before, after = changes_of(stream[:3]), changes_of(stream)

    assert (before.error_code, before.error_message, before.error_retryable) == ("BUSY", "Later.", True)
    assert (after.error_code, after.error_message, after.error_retryable) == (None, None, None)
    assert (before.status, after.status) == (Status.FAILED, Status.PROCESSING)


@pytest.mark.parametrize("kind", [GenerationStarted, StageAttemptFailed])
def test_what_happens_within_a_stage_changes_neither_stage_nor_status(kind):
    change = change_of(an_event(kind))

    assert {getattr(change, column) for column in COLUMNS} == {change.id, None, 0, change.version, change.updated_at}


def test_a_result_shows_from_the_moment_it_is_stored_and_a_preview_once_it_is_there():
    stored, done = changes_of(a_run_up_to(ResultStored)), changes_of(a_run_up_to(A_WHOLE_RUN[-1]))

    assert stored.result_id is not None
    assert stored.preview_key is None
    assert done.preview_key is not None


def test_a_later_result_takes_the_place_of_an_earlier_one():
    failed = an_event(ProcessingFailed, stage=Stage.WATERMARKING)
    again = an_event(ReplayRequested, from_stage=Stage.GENERATING, attempt=2)
    second = an_event(ResultStored, result_id=RUN, result_key="results/2", attempt=2)

    row = changes_of(a_stream(*A_WHOLE_RUN[:6], failed, again, an_event(ImageGenerated, attempt=2), second))

    assert (row.result_id, row.result_key, row.attempt) == (RUN, "results/2", 2)


def test_erasing_leaves_nothing_in_the_row_that_names_a_person():
    row = changes_of(a_stream(*A_WHOLE_RUN, UploadErased))

    assert (row.email, row.session_token_digest) == ("", "")


def test_merging_changes_the_row_and_leaves_the_change():
    row, change = (change_of(event) for event in a_run_up_to(ProcessingRequested))

    assert merge(row, change) is row
    assert change.email is None


def test_no_events_make_no_change():
    with pytest.raises(ValueError, match="no events"):
        changes_of([])
