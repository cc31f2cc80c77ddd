"""The path of one upload, as ARCHITECTURE.md tells it, is the path that the code takes."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from contracts.events import EVENT_TYPES
from shared.storage import keys
from shared.upload import decisions
from shared.upload.saga import SAGA

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines()
    if re.match(r"\| \w+ \| `(services|shared)/", line)
]
STAGES = {row.queue: row for row in SAGA.values()}
EVENTS = {kind.__name__: kind for kind in EVENT_TYPES}


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_hop_names_a_file_that_is_there_and_events_that_it_makes_or_reads(row: list[str]) -> None:
    _, file, reads, writes = row
    path = ROOT / quoted(file)[0]

    assert path.is_file()
    if path.name != "handler.py":  # a stage's is looked at below
        for name in EVENTS.keys() & {*quoted(reads), *quoted(writes)}:
            assert _is_known_to(path.read_text(), name), f"{path.name} knows no {name}"


@pytest.mark.parametrize("queue", STAGES)
def test_a_stage_reads_the_event_and_writes_the_events_that_the_table_says(queue: str) -> None:
    spec = STAGES[queue]
    row = next(row for row in ROWS if f"services/{queue}/handler.py" in row[1])
    module = import_module(f"services.{queue}.handler")
    handler = next(
        function
        for _, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__ and "event" in inspect.signature(function).parameters
    )
    hints = get_type_hints(handler)
    returned = get_args(hints["return"]) or (hints["return"],)

    assert spec.consumes is hints["event"]
    assert spec.consumes.__name__ in quoted(row[2])
    assert {kind.__name__ for kind in spec.emits} == {name for name in quoted(row[3]) if name in EVENTS}
    assert set(returned) <= set(spec.emits)


def test_the_objects_of_the_table_are_those_that_keys_are_made_for_save_where_direct_uploads_arrive() -> None:
    folders = {match for row in ROWS for match in re.findall(r"`(\w+)/…`", row[2] + row[3])}

    made = {key.partition("/")[0] for key in re.findall(r'f"(\w+/)', inspect.getsource(keys))}
    assert folders == made - {"incoming"}


def _is_known_to(source: str, event: str) -> bool:
    """Whether a file names an event, or calls the decision that makes it."""
    makers = (name for name, made in inspect.getmembers(decisions, inspect.isfunction) if _makes(made, event))
    return event in source or any(maker in source for maker in makers)


def _makes(decision: object, event: str) -> bool:
    returned = get_type_hints(decision).get("return")
    return event in {kind.__name__ for kind in (returned, *get_args(returned)) if isinstance(kind, type)}
