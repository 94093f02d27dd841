"""Frames: text that can be cut where it is cut."""

from hypothesis import given
from hypothesis import strategies as st

from chat.frames import TextJoiner, from_utf16_offset, utf16_length

FAMILY = "👩‍👩‍👧‍👦"


def cut_utf16(text: str, sizes: list[int]) -> list[str]:
    """The text cut anywhere between its UTF-16 units, as services do."""
    units = [
        text.encode("utf-16-le")[i : i + 2].decode("utf-16-le", "surrogatepass")
        for i in range(0, 2 * utf16_length(text), 2)
    ]
    pieces, start = [], 0
    for size in [*sizes, len(units)]:
        pieces.append("".join(units[start : start + size]))
        start += size
    return pieces


@given(st.text(alphabet=st.sampled_from("aß漢‍️👍🏽👩👧🇯🇵😀م \n")), st.lists(st.integers(1, 4)))
def test_deltas_cut_anywhere_join_to_the_whole_text(text: str, sizes: list[int]) -> None:
    joiner = TextJoiner()
    sent = [joiner.feed(piece) for piece in cut_utf16(text, sizes)] + [joiner.finish()]
    assert "".join(sent) == text
    assert all(piece.encode() is not None for piece in sent)  # no lone surrogate leaves


@given(st.integers(1, 6))
def test_a_joined_emoji_is_never_cut(size: int) -> None:
    text = f"a{FAMILY}b👍🏽c🇯🇵🇩🇪d"
    joiner = TextJoiner()
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    ends, sent = [], ""
    for piece in [joiner.feed(piece) for piece in pieces] + [joiner.finish()]:
        sent += piece
        ends.append(len(sent))
    inside = {
        i
        for emoji in (FAMILY, "👍🏽", "🇯🇵", "🇩🇪")
        for i in range(text.index(emoji) + 1, text.index(emoji) + len(emoji))
    }
    assert not inside.intersection(ends)


def test_half_a_surrogate_pair_that_stays_alone_becomes_a_replacement_character() -> None:
    joiner = TextJoiner()
    assert joiner.feed("a\ud83d") == "a"
    assert joiner.feed("b") + joiner.finish() == "\ufffdb"
    assert joiner.feed("\ud83d") + joiner.finish() == "\ufffd"


@given(st.text())
def test_offsets_count_what_browsers_count(text: str) -> None:
    assert utf16_length(text) == len(text.encode("utf-16-le", "surrogatepass")) // 2
    for index in range(len(text) + 1):
        assert from_utf16_offset(text, utf16_length(text[:index])) == index
