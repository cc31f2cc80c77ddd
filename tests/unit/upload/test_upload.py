"""Folding: what a stream adds up to, and what is no stream."""

from uuid import uuid4

import pytest
from hypothesis import given, settings

from contracts.events import (
    ImageGenerated,
    ImageValidated,
    ProcessingFailed,
    ProcessingRequested,
    ReplayRequested,
    ResultStored,
    Stage,
    StageAttemptFailed,
    Status,
    UploadRegistered,
)
from shared.upload.saga import STAGES
from shared.upload.upload import evolve, fold, progress_of
from tests.builders import A_WHOLE_RUN, RESULT, a_stream, an_event, an_upload
from tests.streams import legal_streams


def test_a_run_that_goes_well_passes_every_stage_in_order_and_completes():
    stages = [an_upload(*A_WHOLE_RUN[:n]).stage for n in range(2, len(A_WHOLE_RUN) + 1)]

    seen = list(dict.fromkeys(stages))

    assert seen == [*STAGES, Stage.COMPLETE]
    assert an_upload(*A_WHOLE_RUN).status is Status.COMPLETED
    assert an_upload(*A_WHOLE_RUN).result_id == RESULT


def test_a_stream_begins_with_a_registration():
    with pytest.raises(ValueError, match="begins with UploadRegistered"):
        evolve(None, an_event(ProcessingRequested))


def test_an_upload_is_registered_once():
    with pytest.raises(ValueError, match="registered once"):
        fold(None, a_stream(UploadRegistered, UploadRegistered))


@pytest.mark.parametrize("version", [2, 4])
def test_a_version_that_repeats_or_skips_is_refused(version):
    upload = an_upload(*A_WHOLE_RUN[:2])

    with pytest.raises(ValueError, match="does not follow version 2"):
        evolve(upload, an_event(ImageValidated, version=version))


def test_a_failed_try_makes_the_next_one_due_later_and_leaves_the_stage():
    failed = an_event(StageAttemptFailed, stage_attempt=1)

    upload = an_upload(*A_WHOLE_RUN[:2], failed)

    assert (upload.stage, upload.stage_attempt, upload.due_at) == (Stage.VALIDATING, 2, failed.retry_at)


def test_a_stage_begins_with_its_first_try_whatever_the_one_before_needed():
    failed = an_event(StageAttemptFailed, stage_attempt=4)

    assert an_upload(*A_WHOLE_RUN[:2], failed, ImageValidated).stage_attempt == 1


def test_a_replay_keeps_what_earlier_stages_made():
    failed = an_event(ProcessingFailed, stage=Stage.WATERMARKING)
    again = an_event(ReplayRequested, from_stage=Stage.STORING, attempt=2)

    upload = an_upload(*A_WHOLE_RUN[:6], failed, again)

    assert (upload.status, upload.stage, upload.attempt, upload.failure) == (Status.PROCESSING, "storing", 2, None)
    assert isinstance(upload.inputs[Stage.STORING], ImageGenerated)
    assert isinstance(upload.inputs[Stage.WATERMARKING], ResultStored)


def test_progress_grows_from_stage_to_stage():
    figures = [progress_of(stage) for stage in (*STAGES, Stage.COMPLETE)]

    assert figures == sorted(set(figures))
    assert figures[-1] == 100


@settings(max_examples=200, deadline=None)
@given(legal_streams())
def test_folding_in_two_parts_is_folding_once(events):
    upload_id = uuid4()
    cut = len(events) // 2
    stream = a_stream(*events, upload_id=upload_id)

    assert fold(fold(None, stream[:cut]), stream[cut:]) == fold(None, stream)
