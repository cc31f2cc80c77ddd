"""What a line says by itself, and what no line says."""

import asyncio
import contextvars
import datetime as dt
import json
import logging
from uuid import uuid4

import pytest
import structlog

from contracts.events import ProcessingRequested, Stage, StageAttemptFailed, UploadRegistered
from shared.observability import logs
from shared.observability.logs import configure_logging

NOW = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
UPLOAD, RUN = uuid4(), uuid4()
RUN_FIELDS = {"upload_id": UPLOAD, "workflow_run_id": RUN, "version": 2, "occurred_at": NOW, "attempt": 1}


@pytest.fixture(autouse=True)
def logging_as_it_was():
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before[0], before[1]
    structlog.reset_defaults()
    logs.name_process("")


@pytest.fixture
def lines(capsys):
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def a_request():
    return ProcessingRequested(**RUN_FIELDS, original_key="originals/x", deadline_at=NOW)


def in_a_task_of_its_own(work):
    # Here and not in a fixture: pytest gives each phase of a test a standard error of its own.
    configure_logging("INFO", "json")
    contextvars.Context().run(work)


def say(about=None, service="", **fields):
    def work():
        if about is not None:
            logs.about(about, service)
        structlog.get_logger().info("something", **fields)

    in_a_task_of_its_own(work)


def test_a_line_about_a_message_names_its_run_upload_attempt_and_service(lines):
    say(a_request(), "validator")
    (line,) = lines()
    expected = {"workflow_run_id": str(RUN), "upload_id": str(UPLOAD), "attempt": 1, "service": "validator"}
    assert {name: line[name] for name in expected} == expected


def test_a_librarys_warning_about_a_message_names_it_too(lines):
    def work():
        logs.about(a_request(), "validator")
        logging.getLogger("some.library").warning("careful")

    in_a_task_of_its_own(work)
    (line,) = lines()
    assert (line["event"], line["workflow_run_id"], line["service"]) == ("careful", str(RUN), "validator")


def test_a_retrys_line_names_the_try_that_is_under_way(lines):
    failed = StageAttemptFailed(
        **RUN_FIELDS, stage=Stage.GENERATING, stage_attempt=2, code="BUSY", message="Busy.", retry_at=NOW
    )
    say(failed, "generator")
    assert lines()[0]["stage_attempt"] == 3


def test_what_a_line_says_itself_is_not_overwritten(lines):
    say(a_request(), "validator", attempt=4)
    assert lines()[0]["attempt"] == 4


def test_a_line_about_no_message_names_the_process_alone(lines):
    logs.name_process("dispatcher")
    say()
    (line,) = lines()
    assert line["service"] == "dispatcher"
    assert "upload_id" not in line


async def test_messages_handled_side_by_side_do_not_lend_each_other_their_ids(lines):
    configure_logging("INFO", "json")
    both_bound = asyncio.Barrier(2)

    async def handle(event):
        logs.about(event, "validator")
        await both_bound.wait()
        structlog.get_logger().info("something", of=str(event.upload_id))

    await asyncio.gather(*(handle(ProcessingRequested(
        **RUN_FIELDS | {"upload_id": uuid4()}, original_key="originals/x", deadline_at=NOW
    )) for _ in range(2)))  # fmt: skip
    found = lines()
    assert [line["upload_id"] for line in found] == [line["of"] for line in found]
    assert len({line["upload_id"] for line in found}) == 2


def test_an_event_that_holds_an_e_mail_and_a_digest_leaves_neither_in_its_line(capsys):
    registered = UploadRegistered(
        upload_id=UPLOAD, version=1, occurred_at=NOW, email="ann@example.com", session_token_digest="d1ge57",
        original_key="originals/x", content_type="image/jpeg", size_bytes=1, width=1, height=1,
    )  # fmt: skip
    say(registered, "gateway")
    text = capsys.readouterr().err
    assert str(UPLOAD) in text
    assert "ann@" not in text
    assert "d1ge57" not in text


def test_a_traceback_for_a_person_shows_no_local_variables(capsys):
    configure_logging("INFO", "console")

    def broken(session_token):
        raise ValueError(len(session_token))

    token = "token-s3cret"[::-1]  # Turned round, since a traceback does show the source.
    try:
        broken(token)
    except ValueError:
        structlog.get_logger().exception("request_failed")
    text = capsys.readouterr().err
    assert "ValueError" in text
    assert "terc3s" not in text


def test_quiet_means_warnings_and_worse(capsys):
    configure_logging("WARNING", "console")
    structlog.get_logger().info("stage_done")
    logging.getLogger("some.library").info("connected")
    assert capsys.readouterr().err == ""
