"""The byte stream: `amqp/frames.py`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stand_in.event_hubs.amqp.errors import FRAMING_ERROR, ProtocolViolation
from stand_in.event_hubs.amqp.frames import AMQP_HEADER, EMPTY_FRAME, Frame, FrameReader, encode_frame

frames = st.builds(Frame, st.sampled_from([0, 1]), st.integers(0, 65535), st.binary(max_size=100))


def test_a_frame_has_the_bytes_that_the_standard_says() -> None:
    assert encode_frame(3, b"body").hex() == "0000000c" + "02" + "00" + "0003" + b"body".hex()


def test_an_empty_frame_has_no_body() -> None:
    reader = FrameReader(512)
    reader.feed(EMPTY_FRAME)

    assert reader.next_frame() == Frame(0, 0, b"")


def test_an_extended_header_is_stepped_over() -> None:
    reader = FrameReader(512)
    reader.feed(bytes.fromhex("0000000e" + "03" + "00" + "0001") + b"more" + b"ab")

    assert reader.next_frame() == Frame(0, 1, b"ab")


@given(st.lists(frames, max_size=8), st.data())
def test_frames_are_the_same_in_whatever_pieces_they_arrive(sent: list[Frame], data: st.DataObject) -> None:
    stream = AMQP_HEADER + b"".join(encode_frame(frame.channel, frame.body, frame.frame_type) for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    reader = FrameReader(512)
    header = None
    received = []

    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        header = header or reader.next_header()
        while header is not None and (frame := reader.next_frame()) is not None:
            received.append(frame)

    assert header == AMQP_HEADER
    assert received == sent


@pytest.mark.parametrize("head", ["00000201" + "02000000", "00000007" + "02000000", "00000010" + "01000000"])
def test_an_impossible_frame_is_refused_before_it_is_complete(head: str) -> None:
    """Larger than agreed, smaller than its own head, or with a body that starts within the head."""
    reader = FrameReader(512)
    reader.feed(bytes.fromhex(head))

    with pytest.raises(ProtocolViolation) as refused:
        reader.next_frame()
    assert refused.value.condition == FRAMING_ERROR
