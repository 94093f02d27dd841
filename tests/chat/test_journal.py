"""The journal: the first `stop` or `end` decides, and what comes after it does not count."""

from hypothesis import given
from hypothesis import strategies as st

from chat import records
from chat.journal import Fold, folded_to_end, redacted
from chat.records import Begin, Claim, End, Frame, Logged, Record, Redact, Restart, Stop, Wait
from chat.turn_view import frames_since, phase_of, status_of

BEGIN = Begin("turn", "talk", "owner", "user", {"prompt": "q"}, "hash", 1)


def end(status: str = "completed", at: int = 9) -> End:
    timings: dict[str, int | None] = dict.fromkeys(
        ("queueMs", "timeToFirstChunkMs", "streamingDurationMs", "latencyMs")
    )
    return End("w", status, 1, "stop", 1, "x", None, None, timings, None, None, 0, at)


def frame(seq: int, offset: int, text: str, generation: int = 1) -> Frame:
    return Frame("w", generation, 1, seq, offset, text, 2)


def fold(*found: Record) -> Fold:
    folded = Fold()
    folded.apply_bytes(records.encode(BEGIN, *found))
    return folded


def test_frames_after_a_stop_do_not_count():
    stopped = fold(
        Claim("w", 1, 2), frame(1, 0, "a"), Stop(3), frame(2, 1, "b"), Claim("x", 2, 4), Wait("x", 9, "c", 4)
    )
    assert (stopped.text, stopped.length, stopped.claims, stopped.waiting) == ("a", 1, 1, None)
    assert stopped.decided
    assert stopped.status == "running"  # until its `end` is written


def test_the_first_end_counts_and_a_stop_after_it_changes_nothing():
    ended = fold(frame(1, 0, "a"), end(), Stop(10), end("failed"), Logged(11))
    assert (ended.status, ended.logged) == ("completed", True)
    assert ended.end == end()


def test_a_restart_begins_with_nothing_and_a_redaction_covers_in_place():
    again = fold(frame(1, 0, "old"), Restart("w", 2, 1, "r", 3), frame(2, 0, "a😀b", 2), Redact("w", 3, 1, 1, 2, 4))
    assert (again.text, again.length, again.generation, again.seq) == ("a██b", 4, 3, 2)
    assert redacted("a😀b", 0, 100) == "████"


def test_what_a_newer_version_writes_is_passed_over():
    unknown = b'{"kind":"from the future","at":5}\n'
    folded = Fold()
    assert len(folded.apply_bytes(records.encode(BEGIN) + unknown + records.encode(frame(1, 0, "a")))) == 2
    assert folded.position == len(records.encode(BEGIN) + unknown + records.encode(frame(1, 0, "a")))


@given(st.lists(st.integers(0, 400), max_size=5))
def test_a_journal_read_in_pieces_folds_as_one_read_whole(cuts: list[int]):
    data = records.encode(BEGIN, Claim("w", 1, 2), frame(1, 0, "a"), frame(2, 1, "漢😀"), end())
    whole, pieces, start = Fold(), Fold(), 0
    whole.apply_bytes(data)
    ends = [position for _, position in records.decode(data)]
    for cut in sorted({ends[cut % len(ends)] for cut in cuts} | {len(data)}):
        pieces.apply_bytes(data[start:cut])
        start = cut
    assert (pieces.text, pieces.position, pieces.end) == (whole.text, whole.position, whole.end)


def test_the_log_sees_the_journal_up_to_its_first_end():
    folded = folded_to_end(records.encode(BEGIN, frame(1, 0, "a"), end(), Logged(10), end("failed")))
    assert (folded.status, folded.logged) == ("completed", False)


def test_a_reader_is_shown_nothing_after_the_end():
    data = records.encode(BEGIN, frame(1, 0, "a"), end(), frame(2, 1, "late"), Logged(11))
    since = frames_since(data, 0)
    assert [shown.kind for shown in since.frames] == ["frame", "end"]
    assert (since.next, since.over) == (len(data), True)


def test_the_phases_of_a_turn():
    claim = Claim("w", 1, 2)
    assert phase_of(fold()) == "queued"
    assert phase_of(fold(claim)) == "streaming"
    waiting = fold(claim, Wait("w", 1_800_000_000_000, "429", 3))
    assert (phase_of(waiting), status_of(waiting)["waitingUntil"]) == ("waiting", "2027-01-15T08:00:00.000Z")
    assert phase_of(fold(claim, Wait("w", 9, "429", 3), Claim("x", 2, 9))) == "streaming"
    assert phase_of(fold(claim, end())) == "answered"
    assert phase_of(fold(claim, end(), Logged(10))) == "logged"
