"""Whatever a delivery is: it is read, or refused by an exception that says why, and it costs a bounded pause."""

import struct

import pytest
from aio_pika.message import IncomingMessage
from aiormq.abc import DeliveredMessage
from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode, encode
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from contracts.events import ProcessingRequested
from contracts.events import encode as encode_event
from shared.messaging.dead_letter import read_dead_letter, without_death_headers
from shared.messaging.delivery import plain, read, redeliveries
from shared.messaging.message import Message
from shared.messaging.properties import UNREADABLE, tolerate_any_properties
from shared.messaging.signature import HEADER, Signer
from shared.messaging.topology import DELIVERY_LIMIT, EVENTS
from shared.observability import traces
from tests.builders import an_event

EVENT = encode_event(an_event(ProcessingRequested))
SIGNER = Signer("k" * 32)
OTHER = Signer("o" * 32)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(width=32)
    | st.text(max_size=20)
    | st.binary(max_size=20).map(bytearray)
    | st.datetimes().map(lambda instant: instant.replace(microsecond=0))
)
values = st.recursive(scalars, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each))
names = st.sampled_from(
    ["x-delivery-count", "signature", "traceparent", "x-reason", "x-set-aside-at", "x-death", "CC", UNREADABLE, "other"]
)
headers = st.dictionaries(names, values, max_size=6)
bodies = st.binary(max_size=200) | st.just(EVENT) | st.binary(max_size=20).map(lambda junk: EVENT[:-1] + junk + b"}")


@pytest.fixture(autouse=True)
def tolerating():
    before = decode.METHODS["shortstr"], ContentHeader.unmarshal
    tolerate_any_properties()
    yield
    decode.METHODS["shortstr"], ContentHeader.unmarshal = before


def delivered(body, wire, *, redelivered=False, exchange=""):
    """Return what aio-pika makes of a body and of properties as they come over the wire."""
    header = ContentHeader()
    header.unmarshal(struct.pack(">HHQ", 60, 0, len(body)) + wire)
    deliver = Basic.Deliver("c", 1, redelivered, exchange, "k")
    return IncomingMessage(DeliveredMessage(delivery=deliver, header=header, body=body, channel=None))


def with_headers(given):
    return Basic.Properties(headers=given).marshal()


def settled(delivery):
    """Do with a delivery all that is done with one, up to the consumer and after it."""
    try:
        message = read(delivery, SIGNER)
    except Exception as refusal:  # noqa: BLE001 - what the intake catches
        reason = plain(refusal)
    else:
        assert isinstance(message, Message)
        reason = ""
    assert reason.isprintable()
    assert 0 <= redeliveries(delivery) <= DELIVERY_LIMIT
    read_dead_letter(delivery, "validator", 500)
    without_death_headers(delivery).properties.marshal()


@given(bodies, headers, st.booleans())
def test_any_body_with_any_headers_is_settled(body, given_headers, redelivered):
    try:
        wire = with_headers(given_headers)
    except (TypeError, ValueError, OverflowError, struct.error):
        return  # pamqp cannot even write it
    settled(delivered(body, wire, redelivered=redelivered))


@given(bodies, st.binary(max_size=300))
def test_any_bytes_in_place_of_properties_are_settled(body, wire):
    settled(delivered(body, wire))


@given(st.integers(0, 0xFFFE), st.binary(max_size=300))
def test_any_property_with_any_value_is_settled(flags, values):
    settled(delivered(EVENT, struct.pack(">H", flags & 0xFFFE) + values))


@pytest.mark.parametrize("mode", [0, 1, 2, 3, 7, 255])
def test_any_delivery_mode_is_settled(mode):
    settled(delivered(EVENT, struct.pack(">HB", 0x1000, mode)))


@pytest.mark.parametrize("expiration", [b"", b"1000", b"soon", b"-1", b"9" * 255])
def test_any_expiration_is_settled(expiration):
    settled(delivered(EVENT, struct.pack(">HB", 0x0100, len(expiration)) + expiration))


def test_a_frame_that_holds_no_message_at_all_still_ends_the_connection():
    with pytest.raises((ValueError, struct.error)):
        ContentHeader().unmarshal(b"\x00\x3c")


def test_a_string_that_is_no_utf_8_grows_no_longer():
    consumed, text = decode.METHODS["shortstr"](b"\xff" + b"\xc3" * 255)

    assert (consumed, text) == (256, "?" * 255)
    assert len(encode.short_string(text)) == 256


@pytest.mark.parametrize("count", [100_000, 2**62, -(2**62), "many", ["a"], {"a": 1}, 1.5, None])
def test_what_a_publisher_says_of_deliveries_is_of_no_account(count):
    assert redeliveries(delivered(EVENT, with_headers({"x-delivery-count": count}))) == 0


@pytest.mark.parametrize(
    ("count", "believed"), [(3, 3), (20, 20), (100_000, 20), (2**62, 20), (-5, 0), ("7", 0), ([7], 0), (None, 0)]
)
def test_what_a_redelivery_says_is_believed_up_to_the_limit(count, believed):
    assert redeliveries(delivered(EVENT, with_headers({"x-delivery-count": count}), redelivered=True)) == believed


@pytest.mark.parametrize(
    ("signature", "fresh"),
    [
        (SIGNER.sign(EVENT), True),
        (OTHER.sign(EVENT), False),
        (SIGNER.sign(EVENT + b" "), False),
        (SIGNER.sign(EVENT).upper(), False),
        (bytearray(SIGNER.sign(EVENT).encode()), False),
        ("é", False),
        ("", False),
        (True, False),
        ([SIGNER.sign(EVENT)], False),
        (None, False),
    ],
    ids=str,
)
def test_a_message_is_fresh_only_where_its_signature_is_ours(signature, fresh):
    delivery = delivered(EVENT, with_headers({HEADER: signature}), exchange=EVENTS.name)

    assert read(delivery, SIGNER).fresh is fresh
    assert read(delivery, Signer("")).fresh is False


def test_a_signed_message_is_not_fresh_a_second_time_or_from_elsewhere():
    wire = with_headers({HEADER: SIGNER.sign(EVENT)})

    assert read(delivered(EVENT, wire, exchange=EVENTS.name, redelivered=True), SIGNER).fresh is False
    assert read(delivered(EVENT, wire), SIGNER).fresh is False


def test_without_a_key_nothing_is_signed():
    assert Signer("").sign(EVENT) is None


TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"


@pytest.mark.parametrize("given_trace", ["text", "00-1-2-01", TRACE + "\x00", TRACE + "-" + "x" * 65, 7, None, [TRACE]])
def test_what_is_no_traceparent_is_not_carried_on(given_trace):
    assert traces.checked(given_trace) is None


@pytest.mark.parametrize("given_trace", [TRACE, "cc" + TRACE[2:] + "-later"])
def test_a_traceparent_is_carried_on(given_trace):
    assert traces.checked(given_trace) == given_trace
