"""stream_completion: whatever happens to its runs, one text comes out."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.stream_completion import Attempt
from activities.surroundings import Surroundings
from chat import records
from chat.completion import Chunk, CompletionRequest
from chat.errors import ModelFailure, StorageUnavailable
from chat.failure_policy import MAX_CLAIMS, FailureClass
from chat.journal import Fold, folded_to_end, read_journal
from chat.journal_writer import JournalWriter
from chat.log_record import log_record
from chat.pace import Pace
from chat.quota import Quota
from chat.records import Begin, Claim, Frame, Restart, Stop
from chat.turn import TurnRequest, conversation_key, turn_id
from chat.turn_view import wire_frame
from tests.doubles import FakeInstances, Killed, ManualClock, MemoryJournals, RecordingBrowser, ScriptedModel, failure

KEY = conversation_key("owner", "talk")
TURN = turn_id(KEY, "first", "")
SECOND = turn_id(KEY, "second", "")
# Frames as they come, and no waiting for anything.
EAGER = Pace(window=0.0, look=60.0, alive=600.0)


def begin(turn: str = TURN, prompt: str = "Why?") -> Begin:
    request = TurnRequest(prompt, "gpt-x")
    return Begin(turn, "talk", "owner", "user-1", request.to_dict(), request.hash, 1_800_000_000_000)


def journals(*turns: Begin) -> MemoryJournals:
    store = MemoryJournals()
    for each in turns or (begin(),):
        store.blobs[each.turn_id] = records.encode(each)
        store.orders.setdefault(KEY, []).append(each.turn_id)
    return store


def around(store: MemoryJournals, model: ScriptedModel, browser: RecordingBrowser | None = None) -> Surroundings:
    clock, ids = ManualClock(), itertools.count(1)
    return Surroundings(
        store=store,
        model=lambda: model,
        browser=browser or RecordingBrowser(),
        instances=FakeInstances(),
        quota=Quota(store, clock, 0, 0),
        clock=clock,
        new_id=lambda: f"run-{next(ids)}",
        system_prompt="Be brief.",
        pace=EAGER,
        silence=0.0,
    )


def request(attempt: int = 1, turn: str = TURN, **more: object) -> dict[str, object]:
    return {"turnId": turn, "attempt": attempt, "open": []} | more


async def fold_of(store: MemoryJournals, turn: str = TURN) -> Fold:
    return await read_journal(store, turn)


async def test_the_answer_is_stored_shown_and_returned_alike() -> None:
    store, browser, model = journals(), RecordingBrowser(), ScriptedModel("Kon", "nichi", "wa")
    result = await Attempt(around(store, model, browser), request()).run()
    fold = await fold_of(store)
    assert fold.text == browser.text == result["turn"]["answer"] == "Konnichiwa"
    assert result["summary"]["status"] == fold.status == "completed"
    assert fold.end is not None
    assert (fold.end.finish_reason, fold.end.usage, fold.end.length) == ("stop", {"total_tokens": 3}, 10)
    assert [message.content for message in model.requests[0].messages] == ["Be brief.", "Why?"]
    ended = browser.arguments("turnEnded")[0][0]
    assert (ended["sha256"], ended["length"], ended["status"]) == (fold.sha256, 10, "completed")


async def test_frames_are_numbered_without_gaps_and_follow_one_another() -> None:
    store, browser = journals(), RecordingBrowser()
    await Attempt(around(store, ScriptedModel("a😀", "b", "c", "漢"), browser), request()).run()
    frames = [record for record, _ in records.decode(store.blobs[TURN]) if isinstance(record, Frame)]
    assert [frame.seq for frame in frames] == list(range(1, len(frames) + 1))
    places = [arguments[1] | {"text": arguments[0]} for arguments in browser.arguments("token")]
    numbers = [place["seq"] for place in places]  # of the last frame that a message holds
    assert numbers == sorted(set(numbers))
    assert (places[0]["text"], numbers[-1]) == (frames[0].text, frames[-1].seq)
    offset = 0
    for place in places:
        assert place["offset"] == offset
        offset += len(place["text"].encode("utf-16-le")) // 2
    assert offset == (await fold_of(store)).length == 6


class SuspiciousBrowser(RecordingBrowser):
    """Looks into the journal whenever it is sent something."""

    def __init__(self, store: MemoryJournals) -> None:
        super().__init__()
        self._store = store

    async def send_to_user(self, user_id: str, target: str, arguments: list[Any]) -> None:
        await super().send_to_user(user_id, target, arguments)
        stored = await fold_of(self._store)
        assert stored.text.startswith(self.text)
        assert target != "turnEnded" or stored.end is not None


async def test_nothing_is_shown_that_is_not_stored() -> None:
    store = journals()
    browser = SuspiciousBrowser(store)
    await Attempt(around(store, ScriptedModel("a", "b", "c"), browser), request()).run()
    assert browser.text == "abc"
    assert browser.arguments("turnEnded")


class DiesAt:
    """Kills the run at its n-th append, before or after it was applied."""

    def __init__(self, store: MemoryJournals, number: int, applied: bool) -> None:
        self._left = number
        store.before_append = self._hit if not applied else lambda turn, data: None
        store.after_append = self._hit if applied else lambda turn, data: None

    def _hit(self, turn: str, data: bytes) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed


async def run_until_killed(attempt: Attempt) -> bool:
    """Whether the attempt was killed."""
    task = asyncio.ensure_future(attempt.run())
    done, _ = await asyncio.wait([task])
    error = done.pop().exception()
    if error is not None and not isinstance(error, Killed):
        raise error
    return error is not None


DELTAS = st.lists(st.text("ab漢😀👩‍ \n", min_size=1, max_size=4), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(DELTAS, st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=MAX_CLAIMS - 1))
def test_killed_anywhere_a_repeatable_answer_comes_out_whole(deltas: list[str], deaths: list[tuple[int, bool]]) -> None:
    """Every run may die before or after any of its appends; text only grows, nothing is lost or doubled."""

    async def story() -> None:
        store, browser = journals(), RecordingBrowser()
        seen = [""]
        for number, applied in deaths:
            DiesAt(store, number, applied)
            await run_until_killed(Attempt(around(store, ScriptedModel(*deltas), browser), request()))
            text = (await fold_of(store)).text
            assert text.startswith(seen[-1])
            seen.append(text)
        store.before_append = store.after_append = lambda turn, data: None
        result = await Attempt(around(store, ScriptedModel(*deltas), browser), request()).run()
        fold = await fold_of(store)
        assert fold.text == "".join(deltas)
        assert fold.generation == 1
        assert result["summary"]["sha256"] == fold.sha256

    asyncio.run(story())


@settings(max_examples=40, deadline=None)
@given(DELTAS, DELTAS, st.integers(2, 5))
def test_an_answer_that_differs_is_started_again_openly(first: list[str], second: list[str], death: int) -> None:
    """What the page ends with is one of the model's answers, never a mixture."""

    async def story() -> None:
        store, browser = journals(), RecordingBrowser()
        DiesAt(store, death, applied=True)
        killed = await run_until_killed(Attempt(around(store, ScriptedModel(*first), browser), request()))
        store.before_append = store.after_append = lambda turn, data: None
        await Attempt(around(store, ScriptedModel(*second), browser), request(2)).run()
        fold = await fold_of(store)
        assert fold.text == "".join(second if killed and fold.claims == 2 else first)
        restarts = [record for record, _ in records.decode(store.blobs[TURN]) if isinstance(record, Restart)]
        assert fold.generation == 1 + len(restarts)

    asyncio.run(story())


async def test_an_ended_turn_is_not_asked_again() -> None:
    store, model = journals(), ScriptedModel("once")
    await Attempt(around(store, model), request()).run()
    again = await Attempt(around(store, model), request(2)).run()
    assert len(model.requests) == 1
    assert again["turn"]["answer"] == "once"


async def test_a_second_turn_waits_for_its_parent_and_is_woken() -> None:
    store, model = journals(begin(), begin(SECOND, "And then?")), ScriptedModel("Because.")
    instances = FakeInstances()
    instances.started.append(TURN)
    surroundings = replace(around(store, model), instances=instances)
    assert await Attempt(surroundings, request(turn=SECOND)).run() == {"result": "waiting", "for": TURN}
    await Attempt(surroundings, request()).run()
    assert instances.woken == [(SECOND, TURN)]
    await Attempt(surroundings, request(turn=SECOND)).run()
    talk = [message.content for message in model.requests[-1].messages]
    assert talk == ["Be brief.", "Why?", "Because.", "And then?"]


async def test_a_parent_that_nobody_started_is_started_by_the_turn_behind_it() -> None:
    instances = FakeInstances()
    surroundings = replace(around(journals(begin(), begin(SECOND)), ScriptedModel("x")), instances=instances)
    await Attempt(surroundings, request(turn=SECOND)).run()
    assert instances.started == [TURN]


async def test_a_stop_before_the_claim_ends_the_turn_without_a_model_call() -> None:
    store, model = journals(), ScriptedModel("x")
    store.blobs[TURN] += records.encode(Stop(1))
    result = await Attempt(around(store, model), request()).run()
    assert result["summary"]["status"] == "stopped"
    assert not model.requests


async def test_a_stop_in_mid_answer_keeps_the_text_before_it() -> None:
    store, browser = journals(), RecordingBrowser()

    def stop_after_first_frame(turn: str, data: bytes) -> None:
        if b'"kind":"frame"' in data and b'"seq":2' in data:
            store.blobs[TURN] += records.encode(Stop(1))

    store.before_append = stop_after_first_frame
    model = ScriptedModel("one ", "two ", "three")
    result = await Attempt(around(store, model, browser), request()).run()
    fold = await fold_of(store)
    assert (fold.status, fold.text) == ("stopped", "one ")
    assert result["turn"]["answer"] == "one "
    assert model.open == 0
    assert browser.text == "one "
    ended = browser.arguments("turnEnded")[0][0]
    assert (ended["status"], ended["finishReason"], ended["length"]) == ("stopped", "stopped", 4)


class SilentModel(ScriptedModel):
    """Says what it was told to, and then nothing more; with nothing to say it does not even answer the request."""

    def __init__(self, *script: str) -> None:
        super().__init__(*script)
        self.silent = asyncio.Event()

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[Any]:
        async with super().stream(request) as stream:
            if not self.script:
                await self._say_nothing()
            yield self._with_silence(stream)

    def _with_silence(self, stream: Any) -> Any:
        return SilentStream(stream, self._say_nothing)

    async def _say_nothing(self) -> None:
        self.silent.set()
        await asyncio.Event().wait()


class SilentStream:
    def __init__(self, stream: Any, say_nothing: Callable[[], Awaitable[None]]) -> None:
        self.upstream = stream.upstream
        self._stream, self._say_nothing = stream, say_nothing

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        async for chunk in self._stream:
            if chunk.finish_reason:
                await self._say_nothing()
            yield chunk


async def test_a_bell_does_not_wait_for_the_window_and_what_was_in_it_was_never_shown() -> None:
    """Text that came and is not stored yet when the `stop` is stored comes too late."""
    store, browser, model = journals(), RecordingBrowser(), SilentModel("shown", " too late")
    world = replace(around(store, model, browser), pace=Pace(window=60.0, look=60.0, alive=600.0))
    running = asyncio.create_task(Attempt(world, request()).run())
    await model.silent.wait()
    store.blobs[TURN] += records.encode(Stop(1))
    world.bells.ring(TURN)
    result = await asyncio.wait_for(running, 10)
    fold = await fold_of(store)
    assert (fold.status, model.open) == ("stopped", 0)
    assert browser.text == fold.text == result["turn"]["answer"]
    assert "late" not in fold.text


@pytest.mark.parametrize("script", [(), ("shown",)], ids=["before it answers", "in mid-answer"])
@pytest.mark.parametrize("rings", [True, False], ids=["with a bell", "by looking"])
async def test_a_stop_while_the_model_is_silent_closes_its_stream(script: tuple[str, ...], rings: bool) -> None:
    store, model = journals(), SilentModel(*script)
    world = replace(around(store, model), pace=EAGER if rings else replace(EAGER, look=0.01))
    running = asyncio.create_task(Attempt(world, request()).run())
    await model.silent.wait()
    assert model.open == 1
    store.blobs[TURN] += records.encode(Stop(1))
    if rings:
        world.bells.ring(TURN)
    result = await asyncio.wait_for(running, 10)
    assert model.open == 0
    assert (result["summary"]["status"], result["turn"]["answer"]) == ("stopped", "".join(script))


@pytest.mark.parametrize("script", [(), ("\ud83d",)], ids=["before the head", "after the head"])
async def test_a_stop_before_the_first_text_tells_who_was_asked(script: tuple[str, ...]) -> None:
    store, model = journals(), SilentModel(*script)
    world = around(store, model)
    clock = ManualClock()
    world = replace(world, clock=clock)
    running = asyncio.create_task(Attempt(world, request()).run())
    await model.silent.wait()
    appends = store.appends
    clock.move(2000)
    store.blobs[TURN] += records.encode(Stop(clock.now()))
    world.bells.ring(TURN)
    result = await asyncio.wait_for(running, 10)
    record = log_record(folded_to_end(store.blobs[TURN]), None)
    assert (record["status"], record["deployments"], record["deployment"]) == ("stopped", ["gpt-x"], "gpt-x")
    assert record["request_id"] == ("request-1" if script else None)
    assert (record["latency_ms"], record["time_to_first_chunk_ms"]) == (2000, None)
    assert result["summary"]["deployments"] == ["gpt-x"]
    assert store.appends == appends + 1, "told in the append of the end"


class RefusingModel(ScriptedModel):
    """Refuses the request itself: there is no head of an answer."""

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[Any]:
        raise failure(FailureClass.REFUSED, "401")
        yield  # what makes it a generator


async def test_a_failure_before_the_head_tells_who_was_asked() -> None:
    store = journals()
    await Attempt(around(store, RefusingModel()), request()).run()
    record = log_record(folded_to_end(store.blobs[TURN]), None)
    assert (record["status"], record["deployments"], record["request_id"]) == ("failed", ["gpt-x"], None)


async def test_a_stop_without_a_model_call_names_nobody() -> None:
    store = journals()
    store.blobs[TURN] += records.encode(Stop(1))
    await Attempt(around(store, ScriptedModel("x")), request()).run()
    record = log_record(folded_to_end(store.blobs[TURN]), None)
    assert (record["deployments"], record["latency_ms"]) == ([], 0)


async def test_a_fenced_run_returns_the_outcome_of_the_run_that_fenced_it() -> None:
    store, browser = journals(), RecordingBrowser()
    other = around(store, ScriptedModel("theirs"))

    fenced = asyncio.Event()

    def claim_elsewhere(turn: str, data: bytes) -> None:
        if b'"seq":1' in data and not fenced.is_set():
            fenced.set()
            store.blobs[TURN] += records.encode(Claim("other", 7, 2))

    store.before_append = claim_elsewhere
    surroundings = replace(around(store, ScriptedModel("mine"), browser), silence=30.0)
    run = asyncio.ensure_future(Attempt(surroundings, request()).run())
    await fenced.wait()
    store.before_append = lambda turn, data: None
    fold = await fold_of(store)
    writer = JournalWriter(store, TURN, fold, "other", ManualClock())
    await writer.append(Frame("other", 1, 7, 1, 0, "theirs", 3))
    await Attempt(replace(other, silence=0.0), request(8)).run()
    result = await run
    assert result["turn"]["answer"] == "theirs" == (await fold_of(store)).text
    assert browser.arguments("token") == []


async def test_a_run_does_not_fence_a_healthy_one_of_another_attempt() -> None:
    """The last claim is of an attempt that was open when this run was scheduled: it follows, and claims nothing."""
    store, model = journals(), ScriptedModel("mine")
    store.blobs[TURN] += records.encode(Claim("theirs", 1, 1))
    run = asyncio.ensure_future(Attempt(replace(around(store, model), silence=30.0), request(2) | {"open": [1]}).run())
    await asyncio.sleep(0)
    await Attempt(around(store, ScriptedModel("theirs")), request(1)).run()
    result = await run
    assert result["turn"]["answer"] == "theirs"
    assert not model.requests


async def test_a_turn_that_ended_before_it_spoke_does_not_let_the_next_one_pass_the_running_one() -> None:
    third = turn_id(KEY, "third", "")
    store = journals(begin(), begin(SECOND), begin(third))
    store.blobs[SECOND] += records.encode(Stop(1))
    surroundings = around(store, ScriptedModel("x"))
    await Attempt(surroundings, request(turn=SECOND)).run()
    assert await Attempt(surroundings, request(turn=third)).run() == {"result": "waiting", "for": TURN}


async def test_two_followers_of_a_dead_run_do_not_wait_for_ever() -> None:
    store = journals()
    store.blobs[TURN] += records.encode(Claim("dead", 5, 1))
    result = await Attempt(around(store, ScriptedModel("alive")), request(1)).run()
    assert result["turn"]["answer"] == "alive"


async def test_a_look_that_came_too_late_changes_nothing() -> None:
    store, model = journals(), ScriptedModel("x")
    before = dict(store.blobs)
    assert await Attempt(around(store, model), request(2, look={"position": 5})).run() == {"result": "not_needed"}
    assert store.blobs == before


async def test_rate_limits_come_back_as_data_and_are_announced() -> None:
    store = journals()
    model = ScriptedModel("abc", failure(FailureClass.RATE_LIMITED, "429", retry_after=7.5), finish_reason=None)
    result = await Attempt(around(store, model), request()).run()
    assert result == {"result": "failed", "class": "rate_limited", "code": "429", "wait": 7.5}
    fold = await fold_of(store)
    assert fold.waiting is not None
    assert (fold.text, fold.waiting.until, fold.waiting.code) == ("abc", ManualClock().now() + 7500, "429")


async def test_a_stream_without_a_finish_reason_is_a_failure() -> None:
    store = journals()
    result = await Attempt(around(store, ScriptedModel("abc", finish_reason=None)), request()).run()
    assert (result["result"], result["code"]) == ("failed", "stream_ended_early")
    assert (await fold_of(store)).text == "abc"


@pytest.mark.parametrize(("part", "rest"), [("\ud83d", "\ude00"), ("👩\u200d", "💻"), ("🇯", "🇵"), ("👍", "🏽")])
async def test_a_stream_cut_off_inside_a_character_goes_on_with_the_whole_one(part: str, rest: str) -> None:
    store, browser = journals(), RecordingBrowser()
    lost = failure(FailureClass.TRANSIENT)
    await Attempt(around(store, ScriptedModel("a", part, lost), browser), request()).run()
    assert (await fold_of(store)).text == "a"
    await Attempt(around(store, ScriptedModel("a", part, rest, "b"), browser), request(2)).run()
    fold = await fold_of(store)
    whole = (part + rest).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    assert (fold.text, fold.generation) == (f"a{whole}b", 1)
    assert browser.text == fold.text


@pytest.mark.parametrize(
    ("failure_class", "retryable"),
    # What was wrong with a refused call can be repaired, and then the same question is answered; the others stay wrong.
    [(FailureClass.REFUSED, True), (FailureClass.INVALID, False), (FailureClass.TOO_LONG, False)],
)
async def test_what_will_not_get_better_by_waiting_ends_the_turn_at_once(
    failure_class: FailureClass, retryable: bool
) -> None:
    store = journals()
    result = await Attempt(around(store, ScriptedModel(failure(failure_class))), request()).run()
    assert (result["result"], result["summary"]["status"]) == ("done", "failed")
    assert result["summary"]["error"]["retryable"] is retryable


async def test_signalr_tells_of_a_failure_what_the_journal_over_http_tells() -> None:
    store, browser = journals(), RecordingBrowser()
    refused = ModelFailure(FailureClass.REFUSED, "401", "Check the key.", http_status=401)
    await Attempt(around(store, ScriptedModel(refused), browser), request()).run()
    end = (await fold_of(store)).end
    assert end is not None
    wire = wire_frame(end)
    assert wire is not None
    sent = browser.arguments("turnEnded")[0][0]
    assert sent["error"] == wire["error"] == {"code": "401", "message": "Check the key.", "retryable": True}


async def test_after_five_claims_the_turn_fails() -> None:
    store = journals()
    for _ in range(MAX_CLAIMS - 1):
        surroundings = around(store, ScriptedModel(failure(FailureClass.TRANSIENT)))
        assert (await Attempt(surroundings, request()).run())["result"] == "failed"
    last = await Attempt(around(store, ScriptedModel(failure(FailureClass.TRANSIENT))), request()).run()
    assert last["summary"]["status"] == "failed"
    store = journals()
    store.blobs[TURN] += records.encode(*[Claim(f"dead-{n}", 1, n) for n in range(MAX_CLAIMS)])
    model = ScriptedModel("never")
    killer = await Attempt(around(store, model), request()).run()
    assert killer["summary"]["error"]["code"] == "attempts_exhausted"
    assert not model.requests


async def test_a_filtered_answer_ends_as_filtered_with_words() -> None:
    store, browser = journals(), RecordingBrowser()
    model = ScriptedModel("Once upon", finish_reason="content_filter")
    result = await Attempt(around(store, model, browser), request()).run()
    assert result["summary"]["status"] == "filtered"
    assert result["summary"]["error"]["code"] == "content_filter"
    assert (await fold_of(store)).text == "Once upon"


async def test_what_the_late_filter_wants_back_is_covered() -> None:
    store, browser = journals(), RecordingBrowser()
    late = Chunk(finish_reason="content_filter", content_filter_offsets={"start_offset": 3, "end_offset": 7})
    await Attempt(around(store, ScriptedModel("ok 😀bad", late), browser), request()).run()
    fold = await fold_of(store)
    assert (fold.text, fold.status, fold.generation) == ("ok █████", "filtered", 2)
    assert fold.length == 8
    assert browser.arguments("turnRedacted")[0][0]["length"] == 5


async def test_the_answer_survives_signalr_and_the_errors_are_counted() -> None:
    store, browser = journals(), RecordingBrowser(failures=1000)
    result = await Attempt(around(store, ScriptedModel("a", "b"), browser), request()).run()
    assert result["turn"]["answer"] == "ab"
    assert result["summary"]["deliveryErrors"] > 0


async def test_an_append_whose_outcome_is_unknown_is_neither_lost_nor_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.journal_writer.UNKNOWN_OUTCOME_WAITS", (0.0,) * 3)
    for applied in (True, False):
        store, left = journals(), iter([applied])

        def times_out(turn: str, data: bytes, left: object = left) -> None:
            if b'"kind":"frame"' in data and next(left, None) is not None:  # type: ignore[call-overload]
                raise StorageUnavailable("timeout")

        if applied:
            store.after_append = times_out
        else:
            store.before_append = times_out
        await Attempt(around(store, ScriptedModel("a", "b")), request()).run()
        assert (await fold_of(store)).text == "ab"
