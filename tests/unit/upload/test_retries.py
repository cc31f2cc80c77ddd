"""What an upload's owner may have tried again: the bounds are the upload's, however often and after whatever."""

import datetime as dt
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import (
    OWNER,
    GenerationStarted,
    ImageGenerated,
    ImageValidated,
    ProcessingFailed,
    ProcessingRequested,
    ReplayRequested,
    Stage,
    StageAttemptFailed,
    Status,
    UploadRegistered,
)
from shared.upload.decisions import record_failure, request_replay, request_retry, start_generation, time_out
from shared.upload.errors import (
    FinalFailure,
    LeaseHeldError,
    NotReplayableError,
    RetriesExhaustedError,
    RetryableFailure,
)
from shared.upload.saga import OWNER_RETRIES
from shared.upload.upload import evolve
from tests.builders import NOW, an_event, an_upload
from tests.unit.upload import given as aggregate

LATER = NOW + dt.timedelta(hours=1)
GENERATING = (UploadRegistered, ProcessingRequested, ImageValidated)
LEASED = (*GENERATING, an_event(GenerationStarted, lease_until=LATER, max_unknown=0))
STORING_FAILED = an_event(ProcessingFailed, stage=Stage.STORING)
CLAIM = {"worker": "host:1", "lease": dt.timedelta(seconds=90)}
JITTER = random.Random(0)
BUSY = RetryableFailure("PROVIDER_BUSY", "Later.")
LOST = RetryableFailure("PROVIDER_TIMEOUT", "No answer.", outcome_unknown=True)


class Life:
    """One upload whose generator meets every kind of end, and whose owner and operators have it resumed."""

    def __init__(self, max_unknown):
        self.upload = an_upload(*GENERATING)
        self.max_unknown = max_unknown
        self.now = NOW
        self.unknown = 0

    def follow(self, act):
        """Do it where the aggregate allows it."""
        self.now += dt.timedelta(seconds=1)
        if self.upload.status is Status.PROCESSING:
            if act == "deadline":
                self._note(time_out(self.upload, now=max(self.now, self.upload.deadline_at)))
            elif act == "failed before its call":
                self._fail(BUSY)
            elif act in ("busy", "no answer", "died", "under way"):
                self._call(act)
        elif act == "owner":
            try:
                self._note(request_retry(self.upload, now=self.now))
            except NotReplayableError:
                assert not self.upload.failure.retryable
        elif act == "operator":
            self._note(request_replay(self.upload, from_stage=None, requested_by="ann", reason="r", now=self.now))
            self.unknown = 0

    def _call(self, end):
        try:
            started = start_generation(self.upload, **CLAIM, max_unknown=self.max_unknown, now=self.now)
        except LeaseHeldError:
            return
        except FinalFailure as refused:
            self._fail(refused)
            return
        self._note(started)
        self.unknown += end != "busy"
        if end == "died":
            self.now = self.upload.lease_until
        elif end != "under way":
            self._fail(BUSY if end == "busy" else LOST, call=started.call)

    def _fail(self, failure, *, call=None):
        try:
            failed = record_failure(
                self.upload, Stage.GENERATING, self.upload.attempt, failure, call=call, now=self.now, jitter=JITTER
            )
        except LeaseHeldError:
            return
        self._note(failed)

    def _note(self, event):
        self.upload = evolve(self.upload, event)
        self.now = max(self.now, event.occurred_at)


ENDS = ["busy", "no answer", "died", "under way", "failed before its call", "deadline"]


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 5), st.lists(st.sampled_from([*ENDS, "owner"]), max_size=80))
def test_however_often_its_owner_tries_again_an_upload_costs_no_more_calls_of_unknown_outcome_than_allowed(
    max_unknown, acts
):
    life = Life(max_unknown)

    for act in acts:
        life.follow(act)

    assert life.unknown <= max_unknown + 1
    assert life.upload.owner_retries <= OWNER_RETRIES


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 3), st.lists(st.sampled_from([*ENDS, "owner", "operator", "operator"]), max_size=80))
def test_each_replay_by_an_operator_allows_as_many_calls_again_and_no_more(max_unknown, acts):
    life = Life(max_unknown)

    for act in acts:
        life.follow(act)
        assert life.unknown <= max_unknown + 1


def test_a_retry_is_recorded_as_the_owners():
    outcome = aggregate.given(UploadRegistered, ProcessingRequested, ProcessingFailed).when(request_retry, now=LATER)

    assert (outcome.given.requested_by, outcome.given.attempt) == (OWNER, 2)


@pytest.mark.parametrize("failures", [OWNER_RETRIES - 1, OWNER_RETRIES])
def test_the_owners_retries_are_counted_over_all_failures(failures):
    failed = an_event(ProcessingFailed)
    tries = [event for nth in range(failures) for event in (failed, an_event(ReplayRequested, attempt=nth + 2))]
    stream = (UploadRegistered, ProcessingRequested, *tries)

    ended = aggregate.given(*stream).when(
        record_failure,
        Stage.VALIDATING,
        failures + 1,
        FinalFailure("X", "Y.", replayable=True),
        now=LATER,
        jitter=JITTER,
    )
    again = aggregate.given(*stream, failed).when(request_retry, now=LATER)

    assert ended.given.retryable is (failures < OWNER_RETRIES)
    if failures < OWNER_RETRIES:
        assert again.given.attempt == failures + 2
    else:
        again.then_refused(RetriesExhaustedError)
        assert f"{OWNER_RETRIES} times" in again.refused.why


def test_an_operator_may_replay_what_its_owner_may_not_and_gives_the_owner_no_retries():
    failed = an_event(ProcessingFailed)
    tries = [failed, an_event(ReplayRequested)] * OWNER_RETRIES
    stream = (UploadRegistered, ProcessingRequested, *tries, failed)

    replay = aggregate.given(*stream).when(
        request_replay, from_stage=None, requested_by="ann", reason="an outage", now=LATER
    )
    aggregate.given(*stream, replay.given, failed).when(request_retry, now=LATER).then_refused(RetriesExhaustedError)


def test_a_call_cut_off_by_the_deadline_or_given_up_after_its_workers_death_counts_as_unknown():
    late = aggregate.given(*LEASED).when(time_out, now=LATER)
    dead = aggregate.given(*LEASED).when(
        record_failure, Stage.GENERATING, 1, FinalFailure("OBJECT_MISSING", "Gone."), now=LATER, jitter=JITTER
    )
    dead_and_tried_again = aggregate.given(*LEASED).when(
        record_failure, Stage.GENERATING, 1, BUSY, now=LATER, jitter=JITTER
    )
    its_own = aggregate.given(*LEASED).when(
        record_failure, Stage.GENERATING, 1, FinalFailure("BLOCKED", "No."), call=1, now=LATER, jitter=JITTER
    )

    assert late.given.outcome_unknown
    assert not late.given.retryable
    assert dead.given.outcome_unknown
    assert isinstance(dead_and_tried_again.given, StageAttemptFailed)
    assert dead_and_tried_again.given.outcome_unknown
    assert not its_own.given.outcome_unknown


def test_a_worker_that_fails_before_its_call_leaves_anothers_call_alone():
    aggregate.given(*LEASED).when(
        record_failure, Stage.GENERATING, 1, BUSY, now=LATER - dt.timedelta(seconds=1), jitter=JITTER
    ).then_refused(LeaseHeldError)


def test_calls_do_not_matter_once_the_picture_is_there():
    lost = an_event(GenerationStarted, lease_until=LATER, max_unknown=0)

    outcome = aggregate.given(*GENERATING, lost, lost, ImageGenerated, STORING_FAILED).when(request_retry, now=LATER)

    assert outcome.given.from_stage is Stage.STORING


def test_a_final_failure_is_not_retried():
    final = an_event(ProcessingFailed, retryable=False)

    aggregate.given(UploadRegistered, ProcessingRequested, final).when(request_retry, now=LATER).then_refused(
        NotReplayableError
    )


def test_of_a_stream_from_the_first_release_the_owners_replays_count_and_give_no_new_calls():
    claims = [an_event(GenerationStarted, call=call, lease_until=NOW) for call in (1, 2, 3)]
    lost = an_event(StageAttemptFailed, stage=Stage.GENERATING, outcome_unknown=True)
    failed = an_event(ProcessingFailed, stage=Stage.GENERATING, code="GENERATION_OUTCOME_UNKNOWN")
    again = an_event(ReplayRequested, from_stage=Stage.GENERATING, attempt=2)
    stream = (*GENERATING, *(event for claim in claims for event in (claim, lost)), failed, again)

    outcome = aggregate.given(*stream).when(start_generation, **CLAIM, max_unknown=2, now=LATER)

    outcome.then_refused(FinalFailure, "GENERATION_OUTCOME_UNKNOWN")
    assert not outcome.refused.replayable
