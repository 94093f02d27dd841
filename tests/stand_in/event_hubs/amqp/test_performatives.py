"""The bodies of frames: `amqp/performatives.py`."""

import dataclasses

import pytest

from stand_in.event_hubs.amqp.decoder import decode
from stand_in.event_hubs.amqp.encoder import encode
from stand_in.event_hubs.amqp.errors import DecodeError
from stand_in.event_hubs.amqp.performatives import (
    AMQP_PERFORMATIVES,
    SASL_PERFORMATIVES,
    Attach,
    Begin,
    Close,
    Disposition,
    Flow,
    Open,
    Performative,
    Transfer,
    address_of,
    decode_performative,
    rejected,
)
from stand_in.event_hubs.amqp.types import Described, Symbol, UInt, ULong

# How many fields the SDK takes from each without looking (its `_connection.py`, `_session.py`, `_link.py`).
FIELDS = {0x10: 10, 0x11: 8, 0x12: 14, 0x13: 11, 0x14: 11, 0x15: 6, 0x16: 3, 0x17: 1, 0x18: 1}


def test_an_open_has_the_bytes_that_the_standard_says() -> None:
    sent = Open(container_id="c", max_frame_size=65536, channel_max=4999, idle_time_out=240000)

    assert sent.to_bytes().hex() == (
        "005310" + "c0170a" + "a10163" + "40" + "7000010000" + "601387" + "700003a980" + "40" * 5
    )


@pytest.mark.parametrize("kind", AMQP_PERFORMATIVES.values())
def test_every_field_is_written_however_empty(kind: type[Performative]) -> None:
    required = {
        field.name: "x" if field.name in ("name", "container_id") else 1
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING
    }
    body = kind(**required).to_bytes()

    described, _ = decode(body)
    assert isinstance(described, Described)
    assert isinstance(described.value, list)
    assert len(described.value) == FIELDS[kind.DESCRIPTOR]
    assert body[3] in (0xC0, 0xD0), "never list0: the SDK reads a size and a count"


def test_fields_that_were_left_out_are_null() -> None:
    body = encode(Described(ULong(0x11), [None, UInt(1), UInt(2), UInt(3)]))

    assert decode_performative(body, AMQP_PERFORMATIVES) == (
        Begin(next_outgoing_id=1, incoming_window=2, outgoing_window=3),
        b"",
    )


def test_the_payload_is_what_lies_behind() -> None:
    transfer = Transfer(handle=1, delivery_id=2, delivery_tag=b"t", more=True)

    assert decode_performative(transfer.to_bytes() + b"payload", AMQP_PERFORMATIVES) == (transfer, b"payload")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ([], "lacks next_outgoing_id"),
        ([None, None, UInt(1), UInt(1)], "next_outgoing_id may not be null"),
        ([None, "one", UInt(1), UInt(1)], "next_outgoing_id is a UInt, not a str"),
        ([None, -1, UInt(1), UInt(1)], "next_outgoing_id is a UInt"),
        ([None] * 9, "has 8 fields, not 9"),
    ],
)
def test_a_begin_that_is_none_is_refused_by_field(fields: list[object], complaint: str) -> None:
    with pytest.raises(DecodeError, match=complaint):
        decode_performative(encode(Described(ULong(0x11), fields)), AMQP_PERFORMATIVES)


def test_a_performative_of_the_other_layer_is_refused() -> None:
    with pytest.raises(DecodeError, match="is no performative here"):
        decode_performative(Close().to_bytes(), SASL_PERFORMATIVES)
    with pytest.raises(DecodeError, match="described list"):
        decode_performative(encode("text"), AMQP_PERFORMATIVES)


def test_a_rejection_tells_condition_description_and_info() -> None:
    """With two fields the SDK fails inside a callback and waits for ever."""
    outcome = rejected("amqp:not-found", "gone")
    frame = Disposition(role=True, first=1, last=1, settled=True, state=outcome)

    (decoded, _) = decode_performative(frame.to_bytes(), AMQP_PERFORMATIVES)

    assert isinstance(decoded, Disposition)
    assert decoded.state == Described(ULong(0x25), [Described(ULong(0x1D), [Symbol("amqp:not-found"), "gone", {}])])


def test_the_address_of_a_terminus_is_its_first_field() -> None:
    assert address_of(Described(ULong(0x29), ["hub", None])) == "hub"
    assert address_of(Described(ULong(0x29), [])) is None
    assert address_of(None) is None


def test_flow_and_attach_survive_the_way() -> None:
    for sent in (
        Flow(next_incoming_id=0, incoming_window=1, next_outgoing_id=2, outgoing_window=3, handle=4, drain=True),
        Attach(name="n", handle=0, role=False, source=Described(ULong(0x28), ["s"]), properties={Symbol("k"): 1}),
    ):
        assert decode_performative(sent.to_bytes(), AMQP_PERFORMATIVES)[0] == sent
