"""The saga table against what the stages' handlers say of themselves, and against the topology."""

import inspect
import typing
from importlib import import_module
from itertools import pairwise

import pytest

from contracts.events import EVENT_TYPES, GenerationStarted, Stage, routing_key
from shared.messaging.topology import QUEUES, bindings
from shared.upload.saga import (
    ANALYTICS_QUEUE,
    ROUTES,
    RUN_DEADLINE,
    SAGA,
    STAGE_OF_QUEUE,
    STAGES,
    direct_queue,
    next_stage,
)
from tests.builders import an_event

STARTS = {"ProcessingRequested"}
ADDRESSED = {"StageAttemptFailed", "ReplayRequested"}


def handler_of(stage):
    """Find a stage's handler: the one function of `services.<queue>.handler` that takes an event and a context."""
    module = import_module(f"services.{SAGA[stage].queue}.handler")
    found = [
        function
        for _, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__
        and list(inspect.signature(function).parameters)[:2] == ["event", "context"]
    ]
    assert len(found) == 1, f"{module.__name__} has {len(found)} handlers"
    return found[0]


@pytest.mark.parametrize("stage", STAGES)
def test_a_handler_takes_what_the_table_says_its_stage_consumes(stage):
    assert typing.get_type_hints(handler_of(stage))["event"] is SAGA[stage].consumes


@pytest.mark.parametrize("stage", STAGES)
def test_a_handler_gives_what_the_table_says_its_stage_emits(stage):
    given = typing.get_type_hints(handler_of(stage))["return"]
    made = typing.get_args(given) or (given,)

    # GenerationStarted is the claim before the call, which the stage records beside what it returns.
    assert made == tuple(kind for kind in SAGA[stage].emits if kind is not GenerationStarted)


def test_only_the_stage_that_calls_the_provider_claims_calls():
    claiming = [stage for stage in STAGES if "claim_call" in inspect.getsource(handler_of(stage))]

    assert claiming == [Stage.GENERATING]
    assert [stage for stage in STAGES if GenerationStarted in SAGA[stage].emits] == claiming


def test_each_stage_works_from_what_the_stage_before_emits():
    for before, stage in pairwise(STAGES):
        assert SAGA[stage].consumes in SAGA[before].emits
        assert next_stage(before) is stage
    assert next_stage(STAGES[-1]) is Stage.COMPLETE


def test_every_event_has_a_route_and_every_route_an_event():
    assert set(ROUTES) == set(EVENT_TYPES)


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_consumes_is_routed_to_it_and_to_no_other_stage(stage):
    queues = [queue for queue in ROUTES[SAGA[stage].consumes] if queue != ANALYTICS_QUEUE]

    assert queues == [SAGA[stage].queue]


def test_the_bindings_are_the_routes():
    assert sorted(bindings()) == sorted(
        (queue, routing_key(kind)) for kind, queues in ROUTES.items() for queue in queues
    )
    assert {queue for queue, _ in bindings()} == set(QUEUES)


def test_an_event_goes_through_the_exchange_or_straight_to_a_queue_but_never_both():
    for kind in EVENT_TYPES:
        direct = direct_queue(an_event(kind))
        assert direct is None or ROUTES[kind] == (), kind
        assert (direct is not None) == (kind.__name__ in ADDRESSED)


@pytest.mark.parametrize("queue", QUEUES)
def test_each_queue_has_a_service_of_its_name_that_can_be_attached(queue):
    assert callable(import_module(f"services.{queue}.app").attach)


def test_queues_and_stages_name_each_other():
    assert {queue: SAGA[stage].queue for queue, stage in STAGE_OF_QUEUE.items()} == {q: q for q in STAGE_OF_QUEUE}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_silent_is_woken_before_its_run_is_given_up(stage):

    assert 2 * SAGA[stage].timeout < RUN_DEADLINE.total_seconds()
