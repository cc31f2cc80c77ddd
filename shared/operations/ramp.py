"""The ramp of a replay of many runs: 1, 10, 100, … at a time, each batch on the word of the one before. Pure."""

from itertools import count

from contracts.ops import Tally

MIN_SAMPLE = 20
"""Replayed runs that a batch is judged by before it is over; with fewer it is judged at its end."""


def batch_of(position: int) -> int:
    """Return the batch of the run at `position`; both count from 1. Batches end at positions 1, 11, 111 and so on."""
    return len(str(9 * position))


def batch_sizes(runs: int) -> list[int]:
    """Return how many runs each batch has: 1, 10, 100, … and what is left."""
    sizes: list[int] = []
    for batch in count():
        if runs <= 0:
            break
        sizes.append(min(10**batch, runs))
        runs -= sizes[-1]
    return sizes


def fails_too_often(tally: Tally, stop_at: float) -> bool:
    """Return whether a batch's share of failures has passed `stop_at` (0 to 1), which a large batch may before its end.

    Runs under way count as if they were to succeed: failures are often quick, so that the first to end say little.
    """
    if tally.failed == 0 or (tally.open and tally.begun < MIN_SAMPLE):
        return False
    return tally.failed / tally.begun > stop_at
