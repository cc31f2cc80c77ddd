"""What goes over NOTIFY and back."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.read_model.notifications import pack, unpack

CHANGES = st.lists(st.tuples(st.uuids(), st.integers(1, 2**62)), max_size=600)


@given(CHANGES)
def test_every_change_comes_back_in_payloads_that_postgresql_takes(changes):
    payloads = pack(changes)
    assert all(0 < len(payload.encode()) < 8000 for payload in payloads)
    assert [change for payload in payloads for change in unpack(payload)] == changes


def test_a_group_commit_at_its_largest_takes_two_payloads():
    assert len(pack([(uuid.uuid4(), 12)] * 256)) == 2


@pytest.mark.parametrize("payload", ["x", "x:1", f"{uuid.uuid4().hex}", f"{uuid.uuid4().hex}:", "a b"])
def test_what_is_not_ours_is_refused(payload):
    with pytest.raises(ValueError, match=r"."):
        list(unpack(payload))
