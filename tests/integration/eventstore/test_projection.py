"""The read model by three ways — the commit's SQL, the fold in Python, the rebuild — is one and the same."""

import uuid

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.eventstore.application import UploadsApplication
from shared.projection.uploads import COLUMNS, RowChange, changes_of
from shared.read_model.rebuild import rebuild
from tests.builders import A_WHOLE_RUN, a_stream
from tests.stack import eventually
from tests.streams import legal_streams


def recorded(application, stream, cuts):
    """Record a stream in appends that end at the cuts."""
    ends = [*sorted({cut % len(stream) for cut in cuts} - {0}), len(stream)]
    begin = 0
    for end in ends:
        application.record(stream[begin:end], changes=[changes_of(stream[begin:end])])
        begin = end


def rows_of(database_url):
    with psycopg.connect(database_url) as conn:
        rows = conn.execute(f"SELECT {', '.join(COLUMNS)} FROM uploads").fetchall()  # noqa: S608 — own names
    return {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in rows}


def folded(stream):
    row: RowChange = changes_of(stream)
    return {column: getattr(row, column) for column in COLUMNS}


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(legal_streams(), st.lists(st.integers(0, 30), max_size=6)), min_size=1, max_size=8))
def test_live_rows_are_what_python_folds_and_what_a_rebuild_gives(database_url, cases):
    application = UploadsApplication(database_url)
    try:
        streams = []
        for stream, cuts in cases:
            upload_id = uuid.uuid4()
            streams.append([replace(event, upload_id=upload_id) for event in stream])
            recorded(application, streams[-1], cuts)
    finally:
        application.close()
    expected = {stream[0].upload_id: folded(stream) for stream in streams}

    live = rows_of(database_url)
    report = rebuild(database_url)

    assert {upload_id: live[upload_id] for upload_id in expected} == expected
    assert report.different == 0
    assert rows_of(database_url) == live


def test_every_column_that_a_run_fills_is_filled(database_url):
    application = UploadsApplication(database_url)
    recorded(application, a_stream(*A_WHOLE_RUN), [1, 2, 3, 4, 5, 6, 7])
    application.close()

    (row,) = rows_of(database_url).values()

    assert [column for column in COLUMNS if row[column] is None] == ["error_code", "error_message", "error_retryable"]
    assert (row["status"], row["stage"], row["progress"]) == ("completed", "complete", 100)


def test_the_table_has_the_columns_that_a_change_has_and_no_other_but_what_it_makes_of_them(database_url):
    with psycopg.connect(database_url) as conn:
        found = conn.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'uploads' AND is_generated = 'NEVER'"
        ).fetchall()

    assert {name for (name,) in found} == set(COLUMNS)


def test_only_a_run_that_begins_and_its_result_touch_the_indexes(database_url):
    application = UploadsApplication(database_url)
    recorded(application, a_stream(*A_WHOLE_RUN), range(len(A_WHOLE_RUN)))
    application.close()

    def updates():
        with psycopg.connect(database_url) as conn:
            return conn.execute(
                "SELECT n_tup_upd, n_tup_upd - n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'uploads'"
            ).fetchone()

    eventually(lambda: updates() == (len(A_WHOLE_RUN) - 1, 2), within=10, or_show=lambda: str(updates()))
