"""The codecs, with literal bytes from the specification's examples and with every way to cut them."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stand_in.signalr.hub_protocol import (
    JSON,
    MAXIMUM_RECORD_BYTES,
    CancelInvocation,
    Close,
    Completion,
    EncodedOnce,
    HandshakeRequest,
    HubProtocol,
    HubProtocolError,
    Invocation,
    Ping,
    Record,
    StreamItem,
    handshake_response,
    split_handshake,
)
from stand_in.signalr.message_pack import MESSAGE_PACK

JSON_BYTES: list[tuple[Record, bytes]] = [
    (Invocation("token", ["日本"]), '{"type":1,"target":"token","arguments":["日本"]}\x1e'.encode()),
    (Invocation("f", [1], "7"), b'{"type":1,"invocationId":"7","target":"f","arguments":[1]}\x1e'),
    (Invocation("f", [], "7", True), b'{"type":4,"invocationId":"7","target":"f","arguments":[]}\x1e'),
    (StreamItem("7", 42), b'{"type":2,"invocationId":"7","item":42}\x1e'),
    (Completion("7"), b'{"type":3,"invocationId":"7"}\x1e'),
    (Completion("7", result=None, has_result=True), b'{"type":3,"invocationId":"7","result":null}\x1e'),
    (Completion("7", error="no"), b'{"type":3,"invocationId":"7","error":"no"}\x1e'),
    (CancelInvocation("7"), b'{"type":5,"invocationId":"7"}\x1e'),
    (Ping(), b'{"type":6}\x1e'),
    (Close(), b'{"type":7}\x1e'),
    (Close("bye", True), b'{"type":7,"error":"bye","allowReconnect":true}\x1e'),
]
MESSAGE_PACK_BYTES: list[tuple[Record, bytes]] = [
    (Invocation("token", ["a"]), b"\x0e\x96\x01\x80\xc0\xa5token\x91\xa1a\x90"),
    (Invocation("f", [1], "7"), b"\x0a\x96\x01\x80\xa17\xa1f\x91\x01\x90"),
    (Invocation("f", [], "7", True), b"\x09\x96\x04\x80\xa17\xa1f\x90\x90"),
    (StreamItem("7", 42), b"\x06\x94\x02\x80\xa17\x2a"),
    (Completion("7"), b"\x06\x94\x03\x80\xa17\x02"),
    (Completion("7", result=None, has_result=True), b"\x07\x95\x03\x80\xa17\x03\xc0"),
    (Completion("7", error="no"), b"\x09\x95\x03\x80\xa17\x01\xa2no"),
    (CancelInvocation("7"), b"\x05\x93\x05\x80\xa17"),
    (Ping(), b"\x02\x91\x06"),
    (Close(), b"\x04\x93\x07\xc0\xc2"),
    (Close("bye", True), b"\x07\x93\x07\xa3bye\xc3"),
]
CASES = [(JSON, *case) for case in JSON_BYTES] + [(MESSAGE_PACK, *case) for case in MESSAGE_PACK_BYTES]


@pytest.mark.parametrize(("protocol", "record", "data"), CASES)
def test_a_record_has_exactly_these_bytes(protocol: HubProtocol, record: Record, data: bytes) -> None:
    assert protocol.encode(record) == data
    assert protocol.decoder().feed(data) == [record]


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_records: st.SearchStrategy[Record] = st.one_of(
    st.builds(Invocation, st.text(), st.lists(_json, max_size=3), st.none() | st.text(), st.booleans()),
    st.builds(StreamItem, st.text(), _json),
    st.builds(lambda id, result: Completion(id, result=result, has_result=True), st.text(), _json),
    st.just(Ping()),
    st.builds(Close, st.none() | st.text(), st.booleans()),
)


@pytest.mark.parametrize("protocol", [JSON, MESSAGE_PACK], ids=lambda protocol: protocol.name)
@settings(deadline=None)  # a busy machine is not a defect
@given(records=st.lists(_records, max_size=6), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_records_survive_however_their_bytes_are_cut(
    protocol: HubProtocol, records: list[Record], cuts: list[int]
) -> None:
    data = b"".join(protocol.encode(record) for record in records)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    decoder, decoded = protocol.decoder(), []
    for start, end in pairwise(edges):
        decoded += decoder.feed(data[start:end])
    assert decoded == records


def test_a_long_message_pack_record_has_a_prefix_of_several_bytes() -> None:
    """300 = 0b10_0101100: the low seven bits first, with the high bit set because more follow."""
    record = Invocation("t", ["x" * 289])
    data = MESSAGE_PACK.encode(record)
    assert data[:2] == b"\xac\x02"
    assert len(data) == 302
    assert MESSAGE_PACK.decoder().feed(data) == [record]


def test_the_handshake_may_be_followed_by_records_in_the_same_message() -> None:
    data = b'{"protocol":"json","version":1}\x1e{"type":6}\x1e'
    assert split_handshake(data) == (HandshakeRequest("json", 1), b'{"type":6}\x1e')


def test_an_incomplete_handshake_is_waited_for() -> None:
    assert split_handshake(b'{"protocol":"json","ver') is None


def test_the_handshake_is_answered_with_an_empty_record_or_an_error() -> None:
    assert handshake_response() == b"{}\x1e"
    assert handshake_response("no") == b'{"error":"no"}\x1e'


@pytest.mark.parametrize("data", [b'{"version":1}\x1e', b'{"protocol":"json"}\x1e', b"[]\x1e", b"hello\x1e"])
def test_what_is_no_handshake_is_refused(data: bytes) -> None:
    with pytest.raises(HubProtocolError):
        split_handshake(data)


@pytest.mark.parametrize(
    ("protocol", "data"),
    [
        (JSON, b'{"type":1,"arguments":[]}\x1e'),
        (JSON, b'{"type":3,"invocationId":"1","error":"e","result":1}\x1e'),
        (JSON, b'{"target":"x"}\x1e'),
        (JSON, b"{]\x1e"),
        (JSON, b"x" * (MAXIMUM_RECORD_BYTES + 1)),
        (MESSAGE_PACK, b"\x02\x91\xc1"),
        (MESSAGE_PACK, b"\x02\x91\x01"),
        (MESSAGE_PACK, b"\x01\x06"),
        (MESSAGE_PACK, b"\xff\xff\xff\xff\xff\xff"),
        (MESSAGE_PACK, b"\xff\xff\x7f"),
    ],
)
def test_what_is_no_record_is_refused(protocol: HubProtocol, data: bytes) -> None:
    with pytest.raises(HubProtocolError):
        protocol.decoder().feed(data)


@pytest.mark.parametrize(("protocol", "data"), [(JSON, b'{"type":99}\x1e'), (MESSAGE_PACK, b"\x02\x91\x63")])
def test_records_of_an_unknown_type_are_skipped(protocol: HubProtocol, data: bytes) -> None:
    assert protocol.decoder().feed(data + protocol.encode(Ping())) == [Ping()]


def test_a_record_for_many_is_encoded_once_for_each_protocol() -> None:
    message = EncodedOnce(Invocation("t", []))
    assert message.frame(JSON) is message.frame(JSON)
    assert message.frame(MESSAGE_PACK) == MESSAGE_PACK.encode(message.record)
