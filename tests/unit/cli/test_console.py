"""What operators write and read at a terminal."""

import datetime as dt

import click
import pytest

from services.cli.console import Instant, out, printable
from shared.messaging.dead_letter import reason_of
from shared.operations.timeline import content_of
from tests.integration.operations.failed_runs import failed_run


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-01-31", dt.datetime(2026, 1, 31, tzinfo=dt.UTC)),
        ("2026-01-31T12:30", dt.datetime(2026, 1, 31, 12, 30, tzinfo=dt.UTC)),
        ("2026-01-31T12:30+02:00", dt.datetime(2026, 1, 31, 10, 30, tzinfo=dt.UTC)),
    ],
)
def test_a_time_without_a_zone_is_utc(written, meant):
    assert Instant().convert(written, None, None) == meant


@pytest.mark.parametrize(("written", "seconds"), [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("7d", 604_800)])
def test_a_span_is_that_long_ago(written, seconds):
    before = dt.datetime.now(dt.UTC)
    meant = Instant().convert(written, None, None)
    assert before <= meant + dt.timedelta(seconds=seconds) <= dt.datetime.now(dt.UTC)


@pytest.mark.parametrize("written", ["", "yesterday", "2x", "-2h", "2026-13-01", "9" * 30 + "d"])
def test_what_is_no_time_is_refused(written):
    with pytest.raises(click.BadParameter, match="is no time"):
        Instant().convert(written, None, None)


def test_a_timeline_names_nobody():
    said = [content_of(event) for event in failed_run()]
    assert not any({"email", "session_token_digest", "upload_id", "version"} & set(content) for content in said)
    assert said[0]["original_key"]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"x-reason": "cannot be read: 1"}, "cannot be read: 1"),
        ({"x-reason": b"bytes"}, "bytes"),
        ({"x-death": [{"reason": "delivery_limit", "queue": "storer"}]}, "delivery_limit by the broker in storer"),
        ({"x-death": []}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_a_dead_letters_reason_is_ours_or_else_the_brokers(headers, reason):
    assert reason_of(headers) == reason


def test_what_strangers_wrote_does_not_steer_the_terminal():
    assert printable("a\x1b[31mb\nc é 照") == "a\\x1b[31mb\\nc é 照"


def test_what_operators_wrote_is_printed_as_it_is(capsys):
    out().print("[red]why[/] [/nonsense] :smile:")
    assert capsys.readouterr().out == "[red]why[/] [/nonsense] :smile:\n"
