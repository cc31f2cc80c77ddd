"""What a replay is said to cost and to take."""

import datetime as dt
from uuid import uuid4

import pytest

from contracts.events import ImageValidated, ProcessingFailed, ProcessingRequested, ReplayRequested, ResultStored, Stage
from contracts.ops import FailedGroup
from shared.operations.estimate import estimate, stage_durations
from shared.upload.saga import SAGA

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
DURATIONS = {Stage.VALIDATING: 1.0, Stage.GENERATING: 60.0, Stage.STORING: 2.0, Stage.WATERMARKING: 3.0}
PACING = {"rate": 10.0, "at_once": 100, "call_cost": 0.04, "durations": DURATIONS}


def group(stage, runs):
    return FailedGroup(stage=stage, code="X", retryable=True, runs=runs)


@pytest.mark.parametrize(
    ("stage", "from_stage", "calls"),
    [
        (Stage.VALIDATING, None, 7),
        (Stage.GENERATING, None, 7),
        (Stage.STORING, None, 0),
        (Stage.WATERMARKING, None, 0),
        (Stage.WATERMARKING, Stage.STORING, 0),
        (Stage.WATERMARKING, Stage.GENERATING, 7),
        (Stage.STORING, Stage.VALIDATING, 7),
    ],
)
def test_the_provider_is_called_where_the_replay_begins_before_the_picture(stage, from_stage, calls):
    said = estimate([group(stage, 7)], from_stage=from_stage, **PACING)
    assert (said.provider_calls, said.cost) == (calls, pytest.approx(calls * 0.04))


def test_the_time_is_that_of_each_batch_at_the_pace_and_of_its_last_run():
    said = estimate([group(Stage.STORING, 11)], from_stage=None, **PACING)
    assert said.seconds == pytest.approx((1 / 10 + 5) + (10 / 10 + 5))


def test_runs_under_way_bound_the_pace_too():
    said = estimate([group(Stage.GENERATING, 1)], from_stage=None, **{**PACING, "at_once": 1})
    assert said.seconds == pytest.approx(65 + 65)


def test_nothing_takes_no_time():
    assert estimate([], from_stage=None, **PACING).seconds == 0


def run_events(*seconds, upload_id=None):
    """Requested, validated, failed, replayed at storing, stored: at these seconds past noon."""
    upload_id = upload_id or uuid4()
    ids = {"upload_id": upload_id, "workflow_run_id": uuid4(), "attempt": 1}
    at = [NOON + dt.timedelta(seconds=second) for second in seconds]
    pixels = {"width": 1, "height": 1, "size_bytes": 1}
    kinds = (
        lambda n, when: ProcessingRequested(version=n, occurred_at=when, original_key="o", deadline_at=NOON, **ids),
        lambda n, when: ImageValidated(
            version=n, occurred_at=when, original_key="o", format="png", sha256="0", **pixels, **ids
        ),
        lambda n, when: ProcessingFailed(
            version=n, occurred_at=when, stage=Stage.STORING, code="X", message="", retryable=True, **ids
        ),
        lambda n, when: ReplayRequested(
            version=n, occurred_at=when, from_stage=Stage.STORING, requested_by="a", reason="b", deadline_at=NOON, **ids
        ),
        lambda n, when: ResultStored(
            version=n, occurred_at=when, result_id=uuid4(), result_key="r", content_type="image/png", **pixels, **ids
        ),
    )
    return [kind(n, when) for n, (kind, when) in enumerate(zip(kinds, at, strict=True), start=2)]


def test_stage_durations_are_medians_and_the_pause_before_a_replay_is_none_of_them():
    events = [*run_events(0, 4, 9, 5_000, 5_002), *run_events(0, 6, 9, 10, 14), *run_events(0, 5, 9, 50, 53)]
    durations = stage_durations(events)
    assert durations[Stage.VALIDATING] == 5
    assert durations[Stage.STORING] == 3
    assert durations[Stage.GENERATING] == SAGA[Stage.GENERATING].typical


def test_a_stream_cut_at_its_beginning_says_nothing_of_the_stage_that_it_was_in():
    first, second = run_events(0, 4, 9, 10, 11), run_events(100, 103, 110, 200, 202)
    assert stage_durations([*first[4:], *second[1:]])[Stage.VALIDATING] == SAGA[Stage.VALIDATING].typical
    assert stage_durations([*first[4:], *second[1:]])[Stage.STORING] == 2
