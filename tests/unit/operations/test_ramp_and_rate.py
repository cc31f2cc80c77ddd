"""How a replay of many runs is spread: over batches, and over time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ops import Tally
from shared.operations.ramp import batch_of, batch_sizes, fails_too_often
from shared.operations.token_bucket import TokenBucket


def test_batches_are_one_then_ten_then_a_hundred():
    assert batch_sizes(0) == []
    assert batch_sizes(1) == [1]
    assert batch_sizes(11) == [1, 10]
    assert batch_sizes(12) == [1, 10, 1]
    assert batch_sizes(10_000) == [1, 10, 100, 1_000, 8_889]


@given(st.integers(min_value=1, max_value=20_000))
def test_every_position_is_in_the_batch_that_the_sizes_say(runs):
    assert sum(batch_sizes(runs)) == runs
    assert batch_of(runs) == len(batch_sizes(runs))


@pytest.mark.parametrize(
    ("tally", "stops"),
    [
        (Tally(failed=1), True),
        (Tally(completed=1), False),
        (Tally(completed=5, failed=5), False),
        (Tally(completed=4, failed=6), True),
        (Tally(failed=3, waiting=7), False),  # too few to say
        (Tally(failed=11, requested=9, waiting=80), True),
        (Tally(failed=11, requested=11, waiting=80), False),  # those under way may yet complete
        (Tally(skipped=10), False),
    ],
)
def test_a_batch_stops_a_replay_once_more_than_half_of_it_failed(tally, stops):
    assert fails_too_often(tally, 0.5) is stops


def test_a_share_of_one_never_stops():
    assert not fails_too_often(Tally(failed=100), 1.0)


def test_the_pace_is_kept_on_average_and_saves_up_no_more_than_a_second():
    now = 0.0
    bucket = TokenBucket(10, lambda: now)
    assert bucket.take(100) == 1
    assert bucket.take(100) == 0
    taken = 0
    for _ in range(100):
        now += 0.05
        taken += bucket.take(100)
    assert taken == pytest.approx(50, abs=1)
    now += 60
    assert bucket.take(100) == 10


def test_a_pace_below_one_a_second_still_gets_on():
    now = 0.0
    bucket = TokenBucket(0.5, lambda: now)
    assert bucket.take(5) == 1
    now += 1.5
    assert bucket.take(5) == 0
    now += 0.6
    assert bucket.take(5) == 1


def test_what_is_not_wanted_is_not_taken():
    assert TokenBucket(10, lambda: 0.0).take(-3) == 0
