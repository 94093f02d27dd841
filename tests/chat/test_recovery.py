"""Recovery: the rung is chosen from the journal alone, and what matches is swallowed, never mixed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.completion import Chunk, CompletionRequest, Message, estimated_tokens, token_quarters
from chat.deployments import Deployments
from chat.model_call import ModelCall
from chat.records import Frame, Record, Redact, Restart, UpstreamSeen, Wait
from chat.recovery import (
    FRUITLESS_WAITS,
    LONGEST_VERIFIED,
    Ladder,
    PrefixVerifier,
    choose_rung,
    ladder_of,
    rung_below,
)
from chat.rung import Rung
from chat.splice import NoMatch, Splicer, tail_of
from chat.upstream_history import ResumePoint, UpstreamHistory

PLAIN = Deployments()
WORDS = " ".join(f"word{number}" for number in range(300))
SHORT, LONG = WORDS[: LONGEST_VERIFIED - 1], WORDS[: LONGEST_VERIFIED + 1]


def upstream(
    deployment: str = "gpt-x", rung: Rung | None = None, *, background: bool = False, wasted: int = 0
) -> Record:
    who = ("run", deployment, "Japan East", "request-1", "resp-1" if background else "chatcmpl-1", "v1", "gpt-x")
    return UpstreamSeen(*who, "", [], 1, 2, rung.value if rung else None, background or None, wasted)


def frame(text: str, upstream_seq: int | None = None) -> Record:
    return Frame("run", 1, 1, 1, 0, text, 3, upstream_seq)


def wait(deployment: str = "gpt-x") -> Record:
    return Wait("run", 4, "429", 4, "rate_limited", deployment, 1)


def history(*found: Record) -> UpstreamHistory:
    history = UpstreamHistory()
    for record in found:
        history.apply(record)
    return history


def rung(text: str, *found: Record, on: str = "gpt-x", deployments: Deployments = PLAIN) -> Rung | None:
    return choose_rung(ladder_of(text, history(*found), on, deployments))


def test_with_nothing_stored_the_model_is_simply_asked() -> None:
    assert rung("") is None
    assert rung("", upstream()) is None


def test_a_short_text_is_verified_a_long_one_continued() -> None:
    assert rung(SHORT, upstream(), frame(SHORT)) is Rung.VERIFIED
    assert rung(LONG, upstream(), frame(LONG)) is Rung.CONTINUED


def test_a_deployment_that_repeats_itself_is_verified_however_long_the_text() -> None:
    repeatable = Deployments(repeatable=frozenset({"gpt-x"}))
    assert rung(LONG, upstream(), frame(LONG), deployments=repeatable) is Rung.VERIFIED


def test_what_another_deployment_began_cannot_be_repeated() -> None:
    assert rung(SHORT, upstream("gpt-x"), frame(SHORT), on="gpt-y") is Rung.CONTINUED


def test_what_was_spliced_cannot_be_repeated_until_the_text_starts_again() -> None:
    spliced = (upstream(), frame("a"), upstream(rung=Rung.CONTINUED), frame(SHORT))
    assert rung(SHORT, *spliced) is Rung.CONTINUED
    fresh = (upstream(rung=Rung.RESTARTED), Restart("run", 2, 2, "", 5), frame(SHORT))
    assert rung(SHORT, *spliced, *fresh) is Rung.VERIFIED


def test_a_text_without_a_usable_tail_is_verified() -> None:
    dashes = "-" * (LONGEST_VERIFIED + 1)
    assert rung(dashes, upstream(), frame(dashes)) is Rung.VERIFIED


def test_old_journals_that_say_nothing_of_rungs_are_verified() -> None:
    assert rung(SHORT, frame(SHORT)) is Rung.VERIFIED


def test_a_running_response_is_re_attached_to_where_it_runs() -> None:
    running = (upstream(background=True), frame("abc", 7))
    assert history(*running).resume == ResumePoint("resp-1", "gpt-x", 7, 3)
    assert rung("abc", *running) is Rung.REATTACHED
    assert rung("abc", *running, on="gpt-y") is Rung.VERIFIED  # too short to quote
    assert rung("", upstream(background=True)) is Rung.REATTACHED


def test_the_resume_point_stays_where_all_text_was_stored() -> None:
    held = (upstream(background=True), frame("abc", 7), frame("de"))
    assert history(*held).resume == ResumePoint("resp-1", "gpt-x", 7, 3)
    again = (upstream(rung=Rung.REATTACHED, background=True), frame("f", 12))
    assert history(*held, again[0]).resume == ResumePoint("resp-1", "gpt-x", 7, 3)
    assert history(*held, *again).resume == ResumePoint("resp-1", "gpt-x", 12, 6)


def test_a_continuation_can_be_re_attached_to_after_its_first_frame_only() -> None:
    asked = (upstream(), frame("abc"), upstream(rung=Rung.CONTINUED, background=True))
    assert history(*asked).resume is None
    assert history(*asked, frame("de", 9)).resume == ResumePoint("resp-1", "gpt-x", 9, 5)
    assert history(*asked, frame("de", 9), Redact("run", 2, 1, 0, 1, 5)).resume is None


def test_a_response_that_brings_nothing_is_given_up() -> None:
    running = (upstream(background=True), frame(SHORT, 7))
    assert rung(SHORT, *running, *[wait()] * (FRUITLESS_WAITS - 1)) is Rung.REATTACHED
    assert rung(SHORT, *running, *[wait()] * FRUITLESS_WAITS) is Rung.VERIFIED


@pytest.mark.parametrize(
    ("text", "rungs"),
    [
        (SHORT, [Rung.REATTACHED, Rung.VERIFIED, Rung.CONTINUED, Rung.RESTARTED]),
        (LONG, [Rung.REATTACHED, Rung.CONTINUED, Rung.RESTARTED]),
        ("abc", [Rung.REATTACHED, Rung.VERIFIED, Rung.RESTARTED]),
        ("", [Rung.REATTACHED, None]),
    ],
)
def test_each_rung_has_one_below_it(text: str, rungs: list[Rung | None]) -> None:
    ladder = ladder_of(text, history(upstream(background=True), frame(text, 7)), "gpt-x", Deployments())
    found = [choose_rung(ladder)]
    while found[-1] not in (None, Rung.RESTARTED):
        found.append(rung_below(found[-1], ladder))
    assert found == rungs


def test_a_continuation_is_asked_for_with_the_unfinished_text_its_tail_and_the_tokens_that_are_left() -> None:
    ladder = ladder_of(LONG, history(upstream(), frame(LONG)), "gpt-x", Deployments())
    asked = CompletionRequest((Message("user", "Count."),), "gpt-x", max_tokens=500)
    request = ladder.request(Rung.CONTINUED, asked)
    question, unfinished, instruction = request.messages
    assert (question, unfinished) == (asked.messages[0], Message("assistant", LONG))
    assert instruction.role == "user"
    assert ladder.tail is not None
    assert f"\n{ladder.tail}\n" in instruction.content
    assert request.max_tokens == 500 - 201 + len(ladder.tail) // 4 + (len(ladder.tail) % 4 > 0)
    for rung in (None, Rung.VERIFIED, Rung.REATTACHED, Rung.RESTARTED):
        assert ladder.request(rung, asked) == asked
    no_limit = CompletionRequest(asked.messages, "gpt-x")
    assert ladder.request(Rung.CONTINUED, no_limit).max_tokens is None
    spent = CompletionRequest(asked.messages, "gpt-x", max_tokens=100)
    assert (ladder.request(Rung.CONTINUED, spent).max_tokens or 0) > 0


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("word", 1), ("words", 2), ("漢字かな", 4), ("слово", 3), ("한국어 text", 5), ("👍🏽", 2)],
)
def test_tokens_are_estimated_by_script(text: str, tokens: int) -> None:
    assert estimated_tokens(text) == tokens


@given(st.lists(st.text("ab é漢😀", max_size=9), max_size=9))
def test_pieces_cost_what_the_whole_costs(pieces: list[str]) -> None:
    assert sum(map(token_quarters, pieces)) == token_quarters("".join(pieces))


def test_a_chinese_answer_leaves_as_many_tokens_as_its_characters_leave() -> None:
    text = "".join(chr(0x4E00 + number) for number in range(400))
    ladder = ladder_of(text, history(upstream(), frame(text)), "gpt-x", Deployments())
    asked = CompletionRequest((), "gpt-x", max_tokens=500)
    assert ladder.request(Rung.CONTINUED, asked).max_tokens == 500 - 400 + len(ladder.tail or "")


def test_each_rung_has_its_matcher() -> None:
    ladder = Ladder("stored text", "stored text", ResumePoint("r", "gpt-x", 3, 7), repeats=True)
    assert isinstance(ladder.matcher(Rung.CONTINUED), Splicer)
    verifier = ladder.matcher(Rung.REATTACHED)
    assert (verifier.feed("text, more"), verifier.shift) == (", more", 7)
    assert ladder.matcher(Rung.VERIFIED).feed("stored text, more") == ", more"
    for rung in (None, Rung.RESTARTED):
        assert ladder.matcher(rung).feed("anything") == "anything"


def test_wasted_tokens_add_up_over_the_attempts() -> None:
    asked = (upstream(wasted=5), frame("x" * 40), wait(), upstream(rung=Rung.RESTARTED, wasted=10))
    assert history(*asked).wasted_tokens == 16
    assert history(*asked, Restart("run", 2, 2, "", 5), frame("y" * 40)).wasted_tokens == 26
    assert history(upstream(), frame("漢" * 40), Restart("run", 2, 2, "", 5)).wasted_tokens == 40


@given(st.text("ab", max_size=12), st.lists(st.text("ab", max_size=5), max_size=6))
def test_the_reader_ends_with_the_whole_answer_or_keeps_what_is_stored(stored: str, pieces: list[str]) -> None:
    answer, verifier, text = "".join(pieces), PrefixVerifier(stored), stored
    try:
        for piece in pieces:
            text += verifier.feed(piece)
        text += verifier.finish()
    except NoMatch:
        assert text == stored
        assert not answer.startswith(stored)
    else:
        assert text == answer


def test_while_stored_text_is_left_nothing_new_comes_out() -> None:
    verifier = PrefixVerifier("abc")
    assert (verifier.feed("ab"), verifier.undecided) == ("", True)
    assert (verifier.feed("cd"), verifier.undecided) == ("d", False)


def test_an_answer_that_is_shorter_than_the_stored_text_does_not_match_it() -> None:
    verifier = PrefixVerifier("abc")
    verifier.feed("ab")
    with pytest.raises(NoMatch):
        verifier.finish()


MARKS = st.sampled_from(["", '"', "`", "“"])
CLOSING = {"": "", '"': '"', "`": "`", "“": "”"}


@given(MARKS, st.lists(st.text('ab ."`”漢👩🏽', min_size=1, max_size=5), max_size=6), st.booleans())
def test_wherever_a_continuation_can_be_resumed_its_rest_gives_the_same_text(
    mark: str, pieces: list[str], is_closed: bool
) -> None:
    """Read through, or read again from any event after which it says that nothing is held back."""
    stored = "The sky is blue because air scatters short waves more than long ones, which"
    tail = tail_of(stored)
    assert tail is not None
    script = [mark + tail, *pieces, CLOSING[mark] if is_closed else "."]
    asked = CompletionRequest((), "gpt-x", background=True)
    ladder = Ladder(stored, tail, None, repeats=False)
    through = ModelCall(asked, Rung.CONTINUED, ladder.matcher(Rung.CONTINUED), 1)
    text, resumable = stored, []
    try:
        for number, piece in enumerate(script):
            text += through.take(Chunk(text=piece, sequence=number))
            if through.spoke and through.sequence is not None:
                resumable.append((through.sequence, text))
        text += through.finish()
    except NoMatch:
        return
    for sequence, before in resumable:
        ladder = Ladder(before, None, ResumePoint("r", "gpt-x", sequence, len(before)), repeats=False)
        again = ModelCall(asked, Rung.REATTACHED, ladder.matcher(Rung.REATTACHED), 1)
        rest = "".join(again.take(Chunk(text=piece)) for piece in script[sequence + 1 :])
        assert before + rest + again.finish() == text
