"""Runs over the real services: many at once, with a part missing, with parts that are told to stop or are killed."""

import asyncio
from collections import Counter

import httpx
import pytest

from contracts.events import ProcessingRequested
from tests.e2e.product import (
    assert_all_completed_once,
    count,
    history,
    started,
    uploaded,
    wait_until_over,
)
from tests.stack import SERVICES, eventually

pytestmark = pytest.mark.slow


@pytest.mark.timeout(180)
def test_two_hundred_uploads_all_complete_once_and_leave_nothing_to_be_handed_on(stack, client, photo):
    jobs = uploaded(client, photo, 200)

    started(client, jobs)
    wait_until_over(stack, jobs, within=120)

    assert_all_completed_once(stack, jobs)
    eventually(lambda: count(stack.database_url, "outbox") == 0, within=20, or_show=stack.logs)


@pytest.mark.timeout(180)
def test_a_generator_killed_in_the_middle_loses_nothing_and_doubles_nothing(stack, client, photo):
    jobs = uploaded(client, photo, 200)
    started(client, jobs[:100])
    drawn = count(stack.database_url, "upload_events", "topic = 'ImageGenerated'")
    where = "topic = 'ImageGenerated'"
    started(client, jobs[100:])
    eventually(lambda: count(stack.database_url, "upload_events", where) > drawn, within=60, or_show=stack.logs)

    stack.kill("generator")
    stack.start("generator")
    wait_until_over(stack, jobs, within=120)

    assert_all_completed_once(stack, jobs)


async def test_of_fifty_starts_at_the_same_moment_exactly_one_is_accepted(stack, client, photo):
    upload_id, token = client.upload(photo)
    limits = httpx.Limits(max_connections=50)
    async with httpx.AsyncClient(base_url=stack.url, timeout=30, limits=limits) as http:
        request = {"json": {"uploadId": upload_id}, "headers": {"X-Session-Token": token}}

        answers = await asyncio.gather(*(http.post("/api/process", **request) for _ in range(50)))

    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: 49}
    (accepted,) = [answer.json() for answer in answers if answer.status_code == 202]
    refused = [answer.json() for answer in answers if answer.status_code == 409]
    assert {problem["code"] for problem in refused} == {"ALREADY_PROCESSING"}
    assert {problem["workflowRunId"] for problem in refused} == {accepted["workflowRunId"]}
    requested = [event for event in history(stack.database_url, upload_id) if isinstance(event, ProcessingRequested)]
    assert [str(event.workflow_run_id) for event in requested] == [accepted["workflowRunId"]]


@pytest.mark.timeout(180)
def test_with_the_broker_away_a_start_is_accepted_at_once_and_the_run_completes_when_it_is_back(
    stack, client, photo, rabbit
):
    if not rabbit.is_ours:
        pytest.skip("the broker is not ours to stop")
    jobs = uploaded(client, photo, 5)
    rabbit.stop()
    try:
        answers = [client.start(*job) for job in jobs]
    finally:
        rabbit.start()

    assert [answer.status_code for answer in answers] == [202] * 5
    assert max(answer.elapsed.total_seconds() for answer in answers) < 2
    wait_until_over(stack, jobs, within=90)
    assert_all_completed_once(stack, jobs)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_told_to_stop_under_load_ends_well_and_loses_nothing(stack, client, photo, service):
    jobs = uploaded(client, photo, 40)
    started(client, jobs[:20])
    if service == "gateway":
        status = stack.stop(service)
        stack.start(service)
        stack.wait_ready(within=60)
        started(client, jobs[20:])
    else:
        started(client, jobs[20:])
        status = stack.stop(service)
        stack.start(service)

    wait_until_over(stack, jobs, within=90)

    assert status == 0, stack.logs()
    assert_all_completed_once(stack, jobs)


@pytest.mark.timeout(180)
def test_services_told_to_stop_all_at_once_finish_after_the_next_start(stack, client, photo):
    jobs = uploaded(client, photo, 60)
    started(client, jobs)

    statuses = {name: stack.stop(name) for name in SERVICES}
    stack.start_all()
    wait_until_over(stack, jobs, within=90)

    assert statuses == dict.fromkeys(SERVICES, 0)
    assert_all_completed_once(stack, jobs)
