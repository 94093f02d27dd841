"""Server-sent events: however the network cuts a stream, the same events come out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.server_sent_events import EventParser


def read(pieces: list[bytes]) -> list[bytes]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.finish()


LINE_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
# What stands in a line: anything but its ends.
VALUES = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=12).map(str.encode)
FIELDS = st.one_of(
    VALUES.map(lambda value: (b"data: " + value, value)),
    VALUES.filter(lambda value: not value.startswith(b" ")).map(lambda value: (b"data:" + value, value)),
    VALUES.map(lambda value: (b": " + value, None)),
    st.sampled_from(
        [(b"event: x", None), (b"id: 5", None), (b"retry: 10", None), (b"nonsense", None), (b"datax: 1", None)]
    ),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """The bytes of a stream, and the data of its events."""
    text, events = b"", []
    for fields in draw(st.lists(st.lists(FIELDS, max_size=4), max_size=5)):
        for line, _ in fields:
            text += line + draw(LINE_ENDS)
        text += draw(LINE_ENDS)
        data = [value for _, value in fields if value is not None]
        if data:
            events.append(b"\n".join(data))
    return text, events


def is_ambiguous(text: bytes) -> bool:
    """CR then LF, drawn as two line ends, is one."""
    return b"\r\n" in text


@given(streams(), st.data())
def test_events_are_the_same_wherever_the_stream_is_cut(stream: tuple[bytes, list[bytes]], data: st.DataObject):
    text, events = stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    whole, by_byte = read([text]), read([text[index : index + 1] for index in range(len(text))])

    assert read(pieces) == whole == by_byte
    if not is_ambiguous(text):
        assert whole == events


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1), max_size=5))
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_every_event_of_a_usual_stream_is_read(end: bytes, texts: list[str]):
    text = b"".join(b"data: " + text.encode() + end + end for text in texts)

    assert read([text]) == [text.encode() for text in texts]


def test_an_event_is_out_as_soon_as_its_blank_line_is_in():
    parser = EventParser()

    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\n") == [b"a"]
    assert parser.feed(b"data: b\n\n") == [b"b"]
    assert parser.feed(b"data: c\r\n\r") == [b"c"]
    assert parser.feed(b"\ndata: d\n\n") == [b"d"]


def test_a_missing_blank_line_at_the_end_is_forgiven():
    assert read([b"data: a\n\ndata: [DONE]"]) == [b"a", b"[DONE]"]
    assert read([b"data: a\n"]) == [b"a"]
