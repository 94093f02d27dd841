"""The ladder in stream_completion: whatever breaks off and however the model goes on, the text only grows."""

import asyncio
import logging
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.stream_completion import Attempt
from activities.surroundings import Surroundings
from chat import records
from chat.deployments import Deployments
from chat.errors import ResponseLost, StorageUnavailable
from chat.failure_policy import MAX_CLAIMS, FailureClass
from chat.journal import Fold
from chat.records import Alive, Claim, Frame, Stop, UpstreamSeen, Wait
from chat.rung import Rung
from chat.splice import tail_of
from tests.activities.test_stream_completion import (
    TURN,
    DiesAt,
    around,
    fold_of,
    journals,
    request,
    run_until_killed,
)
from tests.doubles import MemoryJournals, RecordingBrowser, ScriptedModel, failure
from tests.model_doubles import ForgetfulModel, RememberingModel, Script

BACKGROUND = Deployments(background=frozenset({"gpt-x"}))
FAILOVER = Deployments(fallbacks=("gpt-y",))
STORY = "Once upon a time there was a lighthouse that nobody had lit for seven years, "
REST = "until one night a ship came in."


def surroundings(
    store: MemoryJournals,
    model: ForgetfulModel,
    deployments: Deployments = BACKGROUND,
    browser: RecordingBrowser | None = None,
) -> Surroundings:
    return replace(around(store, ScriptedModel(), browser), model=lambda: model, deployments=deployments)


def repeating(rest: str) -> Script:
    """A script in small pieces, surrogate pairs cut in two."""
    units = rest.encode("utf-16-le", "surrogatepass")
    return [units[place : place + 4].decode("utf-16-le", "surrogatepass") for place in range(0, len(units), 4)]


def no_deaths(store: MemoryJournals) -> None:
    store.before_append = store.after_append = lambda turn, data: None


def all_records(store: MemoryJournals) -> list[records.Record]:
    return [record for record, _ in records.decode(store.blobs[TURN])]


async def broken_off(store: MemoryJournals, model: ForgetfulModel, deployments: Deployments, appends: int) -> Fold:
    """The journal after a run that died with its n-th append."""
    DiesAt(store, appends - 1, applied=True)
    assert await run_until_killed(Attempt(surroundings(store, model, deployments), request()))
    no_deaths(store)
    return await fold_of(store)


TEXTS = st.text("ab c漢😀👩🏽\u200d💻🇯🇵é\n", min_size=1, max_size=60)
DEATHS = st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=MAX_CLAIMS - 1)


@settings(max_examples=60, deadline=None)
@given(TEXTS, DEATHS)
def test_a_response_that_goes_on_without_us_is_read_to_its_end(text: str, deaths: list[tuple[int, bool]]) -> None:
    """Each response is another text; once one is stored, no other is asked for, and nothing is wasted."""

    async def story() -> None:
        store = journals()
        model = RememberingModel(lambda number: repeating(f"{number}{text}"))
        around = surroundings(store, model)
        seen = ""
        for number, applied in deaths:
            DiesAt(store, number, applied)
            await run_until_killed(Attempt(around, request()))
            fold = await fold_of(store)
            assert fold.text.startswith(seen)
            seen = fold.text
        no_deaths(store)
        await Attempt(around, request()).run()
        fold = await fold_of(store)
        assert fold.text == f"{len(model.responses)}{text}"
        assert (fold.generation, fold.status, fold.end and fold.end.wasted_tokens) == (1, "completed", 0)

    asyncio.run(story())


@settings(max_examples=60, deadline=None)
@given(TEXTS, DEATHS, st.integers(0, 30), st.sampled_from(["", " ", "\n"]))
def test_a_model_that_never_says_the_same_again_is_continued(
    text: str, deaths: list[tuple[int, bool]], more: int, blanks: str
) -> None:
    """However much of the text it repeats first, in whatever pieces: nothing is lost, doubled or taken back."""

    def continued(number: int, unfinished: str, instruction: str) -> Script:
        tail = tail_of(unfinished)
        assert tail is not None
        assert tail in instruction
        repeated = unfinished[max(0, len(unfinished) - len(tail) - more) :]
        return repeating(f"{blanks}{repeated}[{number}]{text}")

    async def story() -> None:
        store = journals()
        model = ForgetfulModel(lambda number: repeating(f"({number}) {STORY}{text}"), continued)
        around = surroundings(store, model, Deployments())
        fold = await fold_of(store)
        for number, applied in [*deaths, (1000, True)]:
            before, generation = fold.text, fold.generation
            DiesAt(store, number, applied)
            await run_until_killed(Attempt(around, request()))
            fold = await fold_of(store)
            if fold.generation == generation:
                assert fold.text.startswith(before)
            else:
                assert tail_of(before) is None, "started again, though it could have been continued"
            if fold.end:
                break
        assert fold.end is not None
        last = len(model.requests)
        is_continued = fold.end.rung == Rung.CONTINUED
        assert fold.text == (f"{before}[{last}]{text}" if is_continued else f"({last}) {STORY}{text}")

    asyncio.run(story())


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(0, 8), st.booleans(), st.sampled_from(['""', "``", "“”", ""]))
def test_a_continuation_in_marks_that_died_is_gone_on_with_without_them(
    text: str, death: int, applied: bool, marks: str
) -> None:
    """The response that was asked to continue runs on at the service: reading on in its middle would keep its mark."""

    def continued(number: int, unfinished: str, instruction: str) -> Script:
        opening, closing = marks[:1], marks[1:]
        return [opening, tail_of(unfinished) or "", *repeating(f"[{number}]{text}!"), closing]

    async def story() -> None:
        store = journals()
        model = RememberingModel(lambda number: [STORY, REST], continued)
        fold = await broken_off(store, model, Deployments(), 2)
        # What was asked for first cannot be asked for again.
        model._fresh = lambda number: ["Quite another answer"]
        for number in (death, 1000):
            before = fold.text
            DiesAt(store, number, applied)
            await run_until_killed(Attempt(surroundings(store, model), request()))
            fold = await fold_of(store)
            assert fold.text.startswith(before)
            if fold.end:
                break
        answers = [before + f"[{number}]{text}!" for number in range(len(model.requests) + 1)]
        assert fold.generation == 1
        assert fold.text in [*answers, *[f"{STORY}[{number}]{text}!" for number in range(9)]]

    asyncio.run(story())


async def test_a_continuation_that_cannot_be_spliced_is_an_open_restart() -> None:
    store, browser = journals(), RecordingBrowser()
    model = ForgetfulModel(lambda number: [f"({number}) ", STORY, REST], lambda *asked: ["Certainly! Here it is."])
    fold = await broken_off(store, model, Deployments(), 3)
    await Attempt(surroundings(store, model, Deployments(), browser), request()).run()
    after = await fold_of(store)
    assert after.end is not None
    assert (after.text, after.generation, after.end.rung) == (f"(4) {STORY}{REST}", 2, 5)
    assert [each.messages[-2].role for each in model.requests[1:]] == ["system", "assistant", "system"]
    # The old text, what was compared with it, and what could not be spliced.
    verified, unspliced = len("(2) "), len("Certainly! Here it is.")
    least = (len(fold.text) + verified + unspliced) // 4
    assert least <= (after.end.wasted_tokens or 0) <= least + 3


async def test_nothing_of_a_rung_that_does_not_hold_is_shown() -> None:
    store, browser = journals(), RecordingBrowser()
    model = ForgetfulModel(
        lambda number: [STORY if number == 1 else STORY[:60] + "which", " differs"],
        lambda number, unfinished, instruction: [tail_of(unfinished) or "", REST],
    )
    fold = await broken_off(store, model, Deployments(), 2)
    await Attempt(surroundings(store, model, Deployments(), browser), request()).run()
    assert browser.text == REST
    assert (await fold_of(store)).text == fold.text + REST


async def test_the_id_of_a_background_response_is_stored_before_its_first_text() -> None:
    store = journals()
    model = RememberingModel(lambda number: [STORY, REST])
    await Attempt(surroundings(store, model), request()).run()
    kinds = [record.kind for record in all_records(store)]
    assert kinds[:3] == ["begin", "claim", "upstream"]
    upstream = next(record for record in all_records(store) if isinstance(record, UpstreamSeen))
    assert (upstream.response_id, upstream.background, upstream.rung) == ("chatcmpl-1", True, None)
    assert [record.upstream_seq for record in all_records(store) if isinstance(record, Frame)][-1] is not None


async def test_a_background_response_is_read_on_from_the_last_event_that_is_stored_whole() -> None:
    store, browser = journals(), RecordingBrowser()
    model = RememberingModel(lambda number: ["One ", "two ", "👩", "\u200d💻", " three"])
    fold = await broken_off(store, model, BACKGROUND, 4)  # claim, upstream, "One ", "two "
    assert fold.text.endswith("two ")
    result = await Attempt(surroundings(store, model, browser=browser), request()).run()
    assert model.reattached == [("chatcmpl-1", 2)]
    assert browser.text == "👩\u200d💻 three"
    assert (result["summary"]["rung"], result["summary"]["wastedTokens"]) == (2, 0)


async def test_a_response_that_is_gone_gives_way_to_the_next_rung_in_the_same_run() -> None:
    store = journals()
    model = RememberingModel(lambda number: [STORY, REST])
    await broken_off(store, model, BACKGROUND, 3)
    model.responses.clear()
    result = await Attempt(surroundings(store, model), request()).run()
    fold = await fold_of(store)
    assert (fold.text, fold.claims, result["summary"]["rung"]) == (STORY + REST, 2, 3)
    assert len(model.requests) == 2


async def test_a_response_that_contradicts_the_stored_text_is_cancelled_and_the_text_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = journals()
    model = RememberingModel(
        lambda number: [STORY, "and another end"] if number == 1 else ["Quite another answer"],
        lambda number, unfinished, instruction: [tail_of(unfinished) or "", REST],
    )
    await broken_off(store, model, BACKGROUND, 3)
    store.blobs[TURN] = store.blobs[TURN].replace(b'"upstream_seq":1', b'"upstream_seq":null')
    model.responses["chatcmpl-1"] = ["Something else"]
    with caplog.at_level(logging.INFO):
        await Attempt(surroundings(store, model), request()).run()
    fold = await fold_of(store)
    assert fold.text == STORY + REST
    assert ("gpt-x", "chatcmpl-1") in model.cancelled
    assert "chatcmpl-1 was cancelled" in caplog.text


async def test_a_stop_cancels_the_response_that_nobody_reads_any_more() -> None:
    store = journals()
    model = RememberingModel(lambda number: [STORY, REST])

    def stop(turn: str, data: bytes) -> None:
        if b'"kind":"frame"' in data:
            store.blobs[TURN] += records.encode(Stop(1))

    store.before_append = stop
    result = await Attempt(surroundings(store, model), request()).run()
    assert result["summary"]["status"] == "stopped"
    assert model.cancelled == [("gpt-x", "chatcmpl-1")]


async def test_a_stop_after_a_crash_cancels_what_the_dead_run_had_asked_for() -> None:
    store = journals()
    model = RememberingModel(lambda number: [STORY, REST])
    await broken_off(store, model, BACKGROUND, 3)
    store.blobs[TURN] += records.encode(Stop(1))
    await Attempt(surroundings(store, model), request(2)).run()
    assert model.cancelled == [("gpt-x", "chatcmpl-1")]
    assert model.reattached == []


async def test_a_fenced_run_leaves_the_response_to_the_one_that_fenced_it() -> None:
    store = journals()
    model = RememberingModel(lambda number: [STORY, REST])
    await broken_off(store, model, BACKGROUND, 3)
    await Attempt(surroundings(store, model), request(2)).run()
    assert model.cancelled == []


async def test_a_response_that_cannot_be_cancelled_is_named_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = journals()
    model = ForgetfulModel(lambda number: [STORY, REST])
    await broken_off(store, model, BACKGROUND, 3)
    store.blobs[TURN] += records.encode(Stop(1))
    result = await Attempt(surroundings(store, model), request(2)).run()
    assert result["summary"]["status"] == "stopped"
    assert "chatcmpl-1 could not be cancelled" in caplog.text


async def test_another_deployment_goes_on_with_the_text_at_once() -> None:
    store, browser = journals(), RecordingBrowser()
    limited = failure(FailureClass.RATE_LIMITED, "429", retry_after=86400)
    model = ForgetfulModel(
        lambda number: [STORY, limited],
        lambda number, unfinished, instruction: [tail_of(unfinished) or "", REST],
    )
    around = surroundings(store, model, FAILOVER, browser)
    first = await Attempt(around, request()).run()
    assert first == {"result": "failed", "class": "rate_limited", "code": "429", "wait": 0.0}
    wait = next(record for record in all_records(store) if isinstance(record, Wait))
    assert (wait.failure_class, wait.deployment) == ("rate_limited", "gpt-x")
    result = await Attempt(around, request(2)).run()
    assert [each.deployment for each in model.requests] == ["gpt-x", "gpt-y"]
    assert browser.text == (await fold_of(store)).text == STORY + REST
    summary = result["summary"]
    assert (summary["deployments"], summary["rung"], summary["attempts"]) == (["gpt-x", "gpt-y"], 4, 2)


async def test_when_all_deployments_have_failed_the_wait_of_the_class_applies() -> None:
    store = journals()
    limited = failure(FailureClass.RATE_LIMITED, "429", retry_after=7.5)
    around = surroundings(store, ForgetfulModel(lambda number: [limited]), FAILOVER)
    waits = [(await Attempt(around, request(number)).run())["wait"] for number in (1, 2, 3)]
    assert waits == [0.0, 7.5, 0.0]


async def test_what_a_verified_answer_repeats_counts_as_wasted() -> None:
    store = journals()
    model = ForgetfulModel(lambda number: [STORY, REST])
    fold = await broken_off(store, model, Deployments(), 2)
    result = await Attempt(surroundings(store, model, Deployments()), request(2)).run()
    assert (result["summary"]["rung"], result["summary"]["wastedTokens"]) == (3, -(-len(fold.text) // 4))


async def test_an_answer_in_one_attempt_wastes_nothing_and_names_no_rung() -> None:
    store = journals()
    result = await Attempt(surroundings(store, ForgetfulModel(lambda number: [STORY])), request()).run()
    summary = result["summary"]
    assert (summary["wastedTokens"], summary["rung"], summary["deployments"]) == (0, None, ["gpt-x"])


async def test_a_response_that_failed_at_the_service_is_not_asked_for_again_and_again() -> None:
    store = journals()
    model = RememberingModel(lambda number: [STORY, ResponseLost(FailureClass.TRANSIENT, "server_error", "Sorry.")])
    around = surroundings(store, model)
    assert (await Attempt(around, request()).run())["code"] == "server_error"
    model.responses.clear()
    model._fresh = lambda number: [STORY, REST]
    result = await Attempt(around, request(2)).run()
    assert ((await fold_of(store)).text, result["summary"]["rung"]) == (STORY + REST, 3)


@pytest.mark.parametrize("interference", ["claim", "alive", "storage"])
async def test_a_response_that_no_record_names_is_cancelled_when_its_run_gives_up(
    interference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id came, and its record could not be stored: nobody else can find it."""
    monkeypatch.setattr("chat.journal_writer.UNKNOWN_OUTCOME_WAITS", ())
    store = journals()
    model = RememberingModel(lambda number: [STORY, REST])
    left = iter([True])

    def interfere(turn: str, data: bytes) -> None:
        if b'"kind":"upstream"' not in data or next(left, None) is None:
            return
        if interference == "storage":
            raise StorageUnavailable("timeout")
        others = Claim("other", 1, 2) if interference == "claim" else Alive("other", 2)
        store.blobs[TURN] += records.encode(others)

    store.before_append = interfere
    running = Attempt(surroundings(store, model), request()).run()
    if interference == "storage":
        with pytest.raises(StorageUnavailable):
            await running
    else:
        assert (await running)["summary"]["status"] == "completed"
    assert model.cancelled == [("gpt-x", "chatcmpl-1")]


async def test_a_response_that_was_re_attached_to_is_left_to_the_run_that_fences() -> None:
    store = journals()
    model = RememberingModel(lambda number: [STORY, REST])
    await broken_off(store, model, BACKGROUND, 3)
    left = iter([True])

    def fence(turn: str, data: bytes) -> None:
        if b'"kind":"upstream"' in data and next(left, None):
            store.blobs[TURN] += records.encode(Claim("other", 1, 2))

    store.before_append = fence
    result = await Attempt(surroundings(store, model), request(2)).run()
    assert (result["summary"]["status"], result["summary"]["rung"]) == ("completed", 2)
    assert model.cancelled == []


async def test_a_record_that_was_stored_before_the_fence_keeps_its_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.journal_writer.UNKNOWN_OUTCOME_WAITS", (0.0,))
    store = journals()
    model = RememberingModel(lambda number: [STORY, REST])

    def fence(turn: str, data: bytes) -> None:
        if b'"kind":"upstream"' in data:
            no_deaths(store)
            store.blobs[TURN] += records.encode(Claim("other", 1, 2))
            raise StorageUnavailable("timeout")  # the outcome is unknown

    store.after_append = fence
    result = await Attempt(surroundings(store, model), request()).run()
    assert (result["summary"]["status"], result["summary"]["rung"]) == ("completed", 2)
    assert model.cancelled == []
