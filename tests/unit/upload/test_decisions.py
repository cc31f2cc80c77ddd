"""Each command, on each state of an upload in which it matters."""

import datetime as dt
import random

import pytest

from contracts.events import (
    OWNER,
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
from shared.upload.decisions import (
    backoff,
    due_input,
    next_check_at,
    overdue_at,
    record,
    record_failure,
    request_processing,
    request_replay,
    run_id_of,
    start_generation,
    time_out,
)
from shared.upload.errors import (
    AlreadyProcessingError,
    FencedError,
    FinalFailure,
    LeaseHeldError,
    NotReplayableError,
    RetryableFailure,
)
from shared.upload.saga import RUN_CHECK_INTERVAL, RUN_DEADLINE, SAGA, STAGES
from tests.builders import A_WHOLE_RUN, NOW, RUN, a_run_up_to, an_event, an_upload
from tests.unit.upload.given import given

LATER = NOW + dt.timedelta(hours=1)
FAILED_AT_START = (UploadRegistered, ProcessingRequested, ProcessingFailed)
REPLAYED = (*FAILED_AT_START, an_event(ReplayRequested, attempt=2))
GENERATING = (UploadRegistered, ProcessingRequested, ImageValidated)
LEASED = (*GENERATING, an_event(GenerationStarted, lease_until=LATER))
CLAIM = {"worker": "host:2", "lease": dt.timedelta(seconds=90), "max_unknown": 2}
FAILURE = {"now": LATER, "jitter": random.Random(0)}


def test_a_pending_upload_is_processed():
    given(UploadRegistered).when(request_processing, workflow_run_id=RUN, now=LATER).then(
        an_event(ProcessingRequested, version=2, occurred_at=LATER, deadline_at=LATER + RUN_DEADLINE)
    )


@pytest.mark.parametrize("events", [A_WHOLE_RUN[:2], A_WHOLE_RUN[:5], A_WHOLE_RUN, FAILED_AT_START, REPLAYED], ids=str)
def test_an_upload_is_not_processed_twice_whatever_became_of_its_run(events):
    given(*events).when(request_processing, workflow_run_id=RUN, now=LATER).then_refused(AlreadyProcessingError)


def test_who_asks_again_is_told_which_run_there_is():
    outcome = given(UploadRegistered, ProcessingRequested).when(request_processing, workflow_run_id=RUN, now=LATER)

    assert (outcome.refused.workflow_run_id, outcome.refused.current_status) == (RUN, "processing")


@pytest.mark.parametrize(
    ("events", "stage"),
    [
        (A_WHOLE_RUN[:2], Stage.VALIDATING),
        (A_WHOLE_RUN[:3], Stage.GENERATING),
        (A_WHOLE_RUN[:4], Stage.GENERATING),
        (A_WHOLE_RUN[:5], Stage.STORING),
        (A_WHOLE_RUN[:6], Stage.WATERMARKING),
    ],
)
def test_exactly_one_stage_is_due_at_a_time(events, stage):
    upload = an_upload(*events)

    due = [each for each in STAGES if due_input(upload, each) is not None]

    assert due == [stage]
    assert isinstance(due_input(upload, stage), SAGA[stage].consumes)


@pytest.mark.parametrize("events", [(UploadRegistered,), A_WHOLE_RUN, FAILED_AT_START], ids=["new", "done", "failed"])
def test_no_stage_is_due_before_a_run_or_after_it(events):
    upload = an_upload(*events)

    assert [stage for stage in STAGES if due_input(upload, stage)] == []


def test_a_free_generation_is_claimed():
    given(*GENERATING).when(start_generation, **CLAIM, now=LATER).then(
        an_event(
            GenerationStarted,
            version=4,
            occurred_at=LATER,
            worker="host:2",
            call=1,
            lease_until=LATER + dt.timedelta(seconds=90),
            max_unknown=2,
        )
    )


def test_a_generation_under_way_is_not_claimed_by_another():
    given(*LEASED).when(start_generation, **CLAIM, now=LATER - dt.timedelta(seconds=1)).then_refused(LeaseHeldError)


def test_a_generation_whose_lease_has_ended_is_taken_over_as_the_next_call():
    outcome = given(*LEASED).when(start_generation, **CLAIM, now=LATER)

    assert outcome.given.call == 2


def test_after_too_many_calls_that_died_in_flight_no_further_one_is_paid_for():
    lost = [an_event(GenerationStarted, call=call, lease_until=LATER) for call in (1, 2, 3)]

    two = given(*GENERATING, *lost[:2]).when(start_generation, **CLAIM, now=LATER)
    three = given(*GENERATING, *lost).when(start_generation, **CLAIM, now=LATER)

    assert two.given.call == 3
    three.then_refused(FinalFailure, "GENERATION_OUTCOME_UNKNOWN")
    assert not three.refused.replayable


def test_a_call_that_failed_counts_as_lost_only_where_nobody_knows_its_outcome():
    def after_two_failures(*, unknown):
        failed = an_event(StageAttemptFailed, stage=Stage.GENERATING, outcome_unknown=unknown)
        calls = [an_event(GenerationStarted, call=call, lease_until=LATER) for call in (1, 2)]
        return given(*GENERATING, calls[0], failed, calls[1], failed).when(
            start_generation, **{**CLAIM, "max_unknown": 1}, now=NOW
        )

    after_two_failures(unknown=True).then_refused(FinalFailure)
    assert after_two_failures(unknown=False).given.call == 3


def test_a_replay_forgets_the_calls_that_died_before_it_where_an_operator_asked():
    lost = [an_event(GenerationStarted, call=call, lease_until=LATER) for call in (1, 2, 3)]
    failed = an_event(ProcessingFailed, stage=Stage.GENERATING, outcome_unknown=True)
    again = {"from_stage": Stage.GENERATING, "attempt": 2}
    by_operator = an_event(ReplayRequested, requested_by="ann", **again)
    by_owner = an_event(ReplayRequested, requested_by=OWNER, **again)

    allowed = given(*GENERATING, *lost, failed, by_operator).when(start_generation, **CLAIM, now=LATER)
    refused = given(*GENERATING, *lost, failed, by_owner).when(start_generation, **CLAIM, now=LATER)

    assert (allowed.given.call, allowed.given.attempt) == (4, 2)
    refused.then_refused(FinalFailure, "GENERATION_OUTCOME_UNKNOWN")


@pytest.mark.parametrize("events", [A_WHOLE_RUN[:2], A_WHOLE_RUN[:5], A_WHOLE_RUN, FAILED_AT_START], ids=str)
def test_nothing_is_generated_where_generating_is_not_due(events):
    given(*events).when(start_generation, **CLAIM, now=LATER).then_refused(FencedError)


def test_a_result_is_recorded_behind_what_came_in_between():
    late = an_event(ImageGenerated, version=4)

    given(*LEASED).when(record, Stage.GENERATING, 1, (late,)).then(an_event(ImageGenerated, version=5))


def test_two_results_at_once_get_versions_one_after_the_other():
    both = (an_event(PreviewWatermarked, version=1), an_event(ProcessingCompleted, version=1))

    outcome = given(*A_WHOLE_RUN[:6]).when(record, Stage.WATERMARKING, 1, both)

    assert [event.version for event in outcome.given] == [7, 8]


@pytest.mark.parametrize(
    ("events", "attempt"),
    [(A_WHOLE_RUN[:3], 1), (A_WHOLE_RUN, 1), (FAILED_AT_START, 1), (REPLAYED, 1), (REPLAYED, 3)],
    ids=["stage done", "run done", "run failed", "later attempt", "attempt unheard of"],
)
def test_a_late_result_is_refused(events, attempt):
    given(*events).when(record, Stage.VALIDATING, attempt, (an_event(ImageValidated),)).then_refused(FencedError)
    given(*events).when(
        record_failure, Stage.VALIDATING, attempt, RetryableFailure("BUSY", "Later."), **FAILURE
    ).then_refused(FencedError)


def test_a_failure_that_may_pass_is_tried_again_and_says_when():
    outcome = given(*A_WHOLE_RUN[:2]).when(
        record_failure, Stage.VALIDATING, 1, RetryableFailure("BUSY", "Later.", retry_after=40), **FAILURE
    )

    assert isinstance(outcome.given, StageAttemptFailed)
    assert (outcome.given.version, outcome.given.stage_attempt) == (3, 1)
    assert outcome.given.retry_at >= LATER + dt.timedelta(seconds=40)


def test_a_failure_that_will_not_pass_ends_the_run_at_once():
    final = FinalFailure("IMAGE_CORRUPT", "It is damaged.")

    given(*A_WHOLE_RUN[:2]).when(record_failure, Stage.VALIDATING, 1, final, **FAILURE).then(
        an_event(
            ProcessingFailed,
            version=3,
            occurred_at=LATER,
            code="IMAGE_CORRUPT",
            message="It is damaged.",
            retryable=False,
        )
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_tried_as_often_as_the_saga_says_and_not_once_more(stage):
    before = next(n for n in range(1, 7) if an_upload(*A_WHOLE_RUN[:n]).stage is stage)
    failures = [an_event(StageAttemptFailed, stage=stage, stage_attempt=n) for n in range(1, SAGA[stage].attempts)]
    fault = RetryableFailure("BUSY", "Later.")

    last_but_one = given(*A_WHOLE_RUN[:before], *failures[:-1]).when(record_failure, stage, 1, fault, **FAILURE)
    last = given(*A_WHOLE_RUN[:before], *failures).when(record_failure, stage, 1, fault, **FAILURE)

    assert isinstance(last_but_one.given, StageAttemptFailed)
    assert isinstance(last.given, ProcessingFailed)
    assert last.given.retryable


def test_the_failure_of_a_call_that_was_taken_over_counts_for_nothing():
    taken_over = an_event(GenerationStarted, call=2, lease_until=LATER)

    given(*LEASED, taken_over).when(
        record_failure, Stage.GENERATING, 1, RetryableFailure("BUSY", "Later."), call=1, **FAILURE
    ).then_refused(FencedError)


def test_a_failed_try_lets_go_of_its_lease():
    failed = an_event(StageAttemptFailed, stage=Stage.GENERATING)

    outcome = given(*LEASED, failed).when(start_generation, **CLAIM, now=LATER - dt.timedelta(minutes=1))

    assert outcome.given.call == 2


def test_a_run_past_its_deadline_times_out_where_it_stands():
    outcome = given(*A_WHOLE_RUN[:5]).when(time_out, now=LATER)

    assert (outcome.given.stage, outcome.given.code, outcome.given.retryable) == (Stage.STORING, "TIMED_OUT", True)


@pytest.mark.parametrize(
    ("events", "now"),
    [(A_WHOLE_RUN[:2], NOW), (A_WHOLE_RUN, LATER), (FAILED_AT_START, LATER), ((UploadRegistered,), LATER)],
    ids=["in time", "done", "failed", "never asked for"],
)
def test_what_is_in_time_or_over_does_not_time_out(events, now):
    given(*events).when(time_out, now=now).then_nothing()


REPLAY = {"requested_by": "user", "reason": "again", "now": LATER}


def test_a_failed_run_is_replayed_at_the_stage_that_failed():
    failed = an_event(ProcessingFailed, stage=Stage.STORING)

    outcome = given(*A_WHOLE_RUN[:5], failed).when(request_replay, from_stage=None, **REPLAY)

    assert (outcome.given.from_stage, outcome.given.attempt, outcome.given.version) == (Stage.STORING, 2, 7)
    assert outcome.given.deadline_at == LATER + RUN_DEADLINE


def test_a_replay_may_begin_earlier_but_not_later_than_the_failure():
    failed = an_event(ProcessingFailed, stage=Stage.STORING)

    earlier = given(*A_WHOLE_RUN[:5], failed).when(request_replay, from_stage=Stage.GENERATING, **REPLAY)
    later = given(*A_WHOLE_RUN[:5], failed).when(request_replay, from_stage=Stage.WATERMARKING, **REPLAY)

    assert earlier.given.from_stage is Stage.GENERATING
    later.then_refused(NotReplayableError, "before watermarking")
    given(*A_WHOLE_RUN[:5], failed).when(request_replay, from_stage=Stage.COMPLETE, **REPLAY).then_refused(
        NotReplayableError
    )


@pytest.mark.parametrize(
    "events",
    [(UploadRegistered,), A_WHOLE_RUN[:4], A_WHOLE_RUN, REPLAYED, (*FAILED_AT_START, UploadErased)],
    ids=["new", "under way", "done", "replayed already", "erased"],
)
def test_only_a_failed_run_of_a_person_who_is_still_known_is_replayed(events):
    given(*events).when(request_replay, from_stage=None, **REPLAY).then_refused(NotReplayableError)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("asked", [0.0, 30.0, 100.0])
def test_the_wait_between_tries_is_never_less_than_was_asked_for_and_has_an_end(stage, asked):
    waits = [backoff(stage, attempt, asked, random.Random(seed)) for attempt in (1, 2, 9, 40) for seed in range(20)]

    assert min(waits).total_seconds() >= max(asked, SAGA[stage].backoff)
    assert max(waits).total_seconds() <= max(asked, SAGA[stage].backoff_max) + SAGA[stage].backoff_max / 2


def test_tries_that_failed_together_are_not_made_together_again():
    waits = {backoff(Stage.GENERATING, 3, 30.0, random.Random(seed)) for seed in range(20)}

    assert len(waits) == 20


@pytest.mark.parametrize("kind", [ProcessingRequested, ImageValidated, ImageGenerated, ResultStored])
def test_a_silent_stage_is_overdue_once_twice_its_time_has_passed_since_it_was_due(kind):
    upload = an_upload(*a_run_up_to(kind))

    assert overdue_at(upload) - upload.due_at == dt.timedelta(seconds=2 * SAGA[upload.stage].timeout)


def test_a_generation_is_overdue_when_its_lease_ends():
    assert overdue_at(an_upload(*LEASED)) == LATER


def test_a_run_is_looked_at_when_its_stage_goes_overdue_and_then_less_and_less_often():
    upload = an_upload(*A_WHOLE_RUN[:2])
    overdue = overdue_at(upload)
    minute = dt.timedelta(minutes=1)

    before = next_check_at(upload, now=overdue - dt.timedelta(seconds=3), every=RUN_CHECK_INTERVAL)
    long_before = next_check_at(upload, now=upload.due_at, every=RUN_CHECK_INTERVAL)
    next_stage = next_check_at(upload, now=overdue + 9 * minute, every=RUN_CHECK_INTERVAL)

    assert before == overdue
    assert long_before == upload.due_at + RUN_CHECK_INTERVAL
    assert next_stage - (overdue + 9 * minute) >= 9 * minute


def test_an_upload_without_a_run_has_no_run_id_to_give():
    with pytest.raises(ValueError, match="has no run"):
        run_id_of(an_upload(UploadRegistered))
