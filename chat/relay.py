"""The relay: the model's answer on its way into the journal and to the browser.

Theory of operation. A reader task takes chunks from the model as fast as they come, into an inbox; it climbs down the
recovery ladder until an answer goes on with the stored text. The writer takes the first text at once and then whatever
came within a window of about 100 ms (chat/pace.py): one append, and when it succeeded the frame goes to the browser.
Only one append is in flight.

While nothing arrives the writer looks at the journal's end (a stop, another run's claim) every 150 ms, and says
`alive` every 10 s, so that readers can tell a slow model from a dead worker.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from chat.bells import Bells
from chat.cancellations import Cancellations
from chat.completion import Chunk, CompletionRequest, Upstream
from chat.conversation import Prompt
from chat.delivery import Delivery
from chat.errors import ModelFailure, ResponseLost
from chat.failure_policy import FailureClass
from chat.frames import utf16_length
from chat.journal_writer import Clock, Decided, JournalWriter
from chat.model_call import ModelCall
from chat.pace import Pace, Window
from chat.records import Frame, Record, Redact, Restart, UpstreamSeen
from chat.recovery import Ladder, choose_rung, rung_below
from chat.rung import Rung
from chat.splice import NoMatch

logger = logging.getLogger(__name__)


class CompletionStream(Protocol):
    """An answer that has begun."""

    @property
    def upstream(self) -> Upstream: ...

    def __aiter__(self) -> AsyncIterator[Chunk]: ...


class ChatModel(Protocol):
    """A model that streams completions. Entering and iterating raise ModelFailure; leaving closes the connection."""

    def stream(self, request: CompletionRequest) -> AbstractAsyncContextManager[CompletionStream]: ...

    def reattach(
        self, request: CompletionRequest, response_id: str, after: int | None
    ) -> AbstractAsyncContextManager[CompletionStream]:
        """The rest of a background response, from the event after this one on, or from its first. Also raises
        ResponseLost."""

    async def cancel(self, deployment: str, response_id: str) -> None:
        """End a background response. Raises ModelFailure."""


@dataclass(slots=True)
class Answer:
    """What is known when the stream is over; the text is in the journal. `wasted_tokens` are those of this run that no
    record tells of yet; `untold` says who was asked last, when no record does: it belongs before the `end`."""

    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    filters: dict[str, Any] | None = None
    rung: Rung | None = None
    failure: ModelFailure | None = None
    delivery_errors: int = 0
    wasted_tokens: int = 0
    untold: UpstreamSeen | None = None


class _Output(NamedTuple):
    """What the writer takes at once: new text, when its first piece arrived, and the event that ends with it."""

    text: str
    arrived_at: int
    sequence: int | None


class _Inbox:
    """What the reader has received and the writer has not yet taken."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.call: ModelCall | None = None
        self.failure: ModelFailure | None = None
        self.arrived = asyncio.Event()  # there is something to write
        self.finished = asyncio.Event()
        self.hurried = asyncio.Event()  # what there is is not to wait for more
        self._pieces: list[str] = []
        self._first_at = 0
        self._wasted = 0  # by earlier calls
        self._told = 0  # of all that was wasted, what records tell of

    def now(self) -> int:
        return self._clock.now()

    def begin(self, call: ModelCall) -> None:
        """The next call; only the last one has text to write."""
        self._wasted += self.call.wasted_tokens if self.call else 0
        self.call = call

    def hurry(self) -> None:
        """Make the writer append now, or look at the journal's end if there is nothing to append."""
        self.hurried.set()
        self.arrived.set()

    def add(self, text: str) -> None:
        if text:
            if not self._pieces:
                self._first_at = self.now()
            self._pieces.append(text)
            self.arrived.set()

    @property
    def has_text(self) -> bool:
        return bool(self._pieces)

    def take_output(self) -> _Output:
        taken = _Output("".join(self._pieces), self._first_at, self.call.sequence if self.call else None)
        self._pieces.clear()
        if not self.finished.is_set():
            self.arrived.clear()
            self.hurried.clear()
        return taken

    @property
    def untold_waste(self) -> int:
        """The wasted tokens that no record tells of yet. Less than nothing when the service counts fewer than were
        estimated."""
        return self._wasted + (self.call.wasted_tokens if self.call else 0) - self._told

    def tell_waste(self, tokens: int) -> None:
        """A record is stored that tells of so many more."""
        self._told += tokens


class Relay:
    """One answer of the model, written and shown by one run."""

    def __init__(
        self, writer: JournalWriter, delivery: Delivery, attempt: int, prompt: Prompt, pace: Pace, bells: Bells
    ) -> None:
        self._writer = writer
        self._delivery = delivery
        self._attempt = attempt
        self._prompt = prompt
        self._pace = pace
        self._bells = bells
        self._inbox = _Inbox(writer.clock)
        self._told_of: ModelCall | None = None  # the call that the last stored `upstream` record is about
        self._restarted = False

    async def relay(
        self, model: ChatModel, request: CompletionRequest, ladder: Ladder, cancellations: Cancellations
    ) -> Answer:
        """Ask the model and write its answer down; returns when the stream is over.

        A failure of the model comes back inside the answer, after the text before it was written. What the writer
        learns (Decided, Fenced, JournalChanged, StorageUnavailable) is raised, and closes the model's stream. A
        response that would go on for nobody is cancelled: the turn is decided, or no record says where it is.
        """
        inbox = self._inbox
        left_behind = self._writer.fold.history.running_response
        if left_behind and (ladder.resume is None or ladder.resume.response_id != left_behind.response_id):
            cancellations.start(left_behind.deployment, left_behind.response_id)
        reader = asyncio.create_task(_Reader(model, request, ladder, inbox, cancellations).read())
        try:
            with self._bells.hung(self._writer.turn_id, inbox.hurry):
                await self._write(inbox)
            await reader
        except Exception as error:
            call = inbox.call
            is_running = call is not None and call.request.background and call.finish_reason is None
            if call and is_running and (isinstance(error, Decided) or not self._is_named(call)):
                cancellations.start(request.deployment, call.response_id)
            raise
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        return self.answer_so_far()

    def answer_so_far(self) -> Answer:
        """What is known of the answer, also after `relay` raised something."""
        call, failure, wasted = self._inbox.call, self._inbox.failure, self._inbox.untold_waste
        if call is None:
            return Answer(failure=failure, wasted_tokens=wasted)
        untold = None if call is self._told_of else self._upstream(call, 0)
        return Answer(
            call.finish_reason, call.usage, call.filters, call.rung, failure, wasted_tokens=wasted, untold=untold
        )

    def _is_named(self, call: ModelCall) -> bool:
        """Whether the journal, as far as it is known, tells the next run of this response."""
        known = self._writer.fold.history.running_response
        return known is not None and known.response_id == call.response_id

    async def _write(self, inbox: _Inbox) -> None:
        time = asyncio.get_running_loop().time
        looked = appended = time()
        window, due = Window(self._pace.window), 0.0  # the first text goes at once
        while not inbox.finished.is_set():
            if inbox.arrived.is_set() and not inbox.has_text:
                await self._flush(inbox)  # who answers, or somebody rang: no text waits for it
                looked = appended = time()
            elif inbox.arrived.is_set():
                await self._gather(inbox, due)
                started = time()
                await self._flush(inbox)
                looked = appended = time()
                due = window.next_after(started, appended)
            elif not await _until(inbox.arrived, looked + self._pace.look - time()):
                if time() - appended >= self._pace.alive:
                    await self._writer.alive()
                    appended = time()
                else:
                    await self._writer.look_at_end()
                looked = time()
        await self._flush(inbox)
        if inbox.call and inbox.call.covered:
            await self._redact(*inbox.call.covered)

    async def _gather(self, inbox: _Inbox, due: float) -> None:
        """Let text gather until its window is over. A window may be long, and a stop does not wait for its end."""
        time = asyncio.get_running_loop().time
        while not await _until(inbox.hurried, min(due - time(), self._pace.look)) and time() < due:
            await self._writer.look_at_end()

    async def _redact(self, start: int, end: int) -> None:
        """Cover what the asynchronous filter wants back; it speaks up to about 1,000 characters late."""
        fold = self._writer.fold
        offset, length = utf16_length(fold.text[:start]), utf16_length(fold.text[start:end])
        if length:
            generation = fold.generation + 1
            redact = Redact(self._writer.writer_id, generation, self._attempt, offset, length, self._writer.clock.now())
            await self._writer.append(redact)
            self._delivery.redacted(generation, self._attempt, offset, length)

    async def _flush(self, inbox: _Inbox) -> None:
        """Append what came as one frame, then show it."""
        text, arrived_at, sequence = inbox.take_output()
        fold, call, wasted = self._writer.fold, inbox.call, inbox.untold_waste
        # Who answers, with the first frame (one append less before the first text), but as soon as a background
        # response has an id, so that it can be found again.
        untold = call if call is not None and call.upstream is not None and call is not self._told_of else None
        new: list[Record] = [self._upstream(untold, wasted)] if untold else []
        restart = bool(text) and call is not None and call.rung is Rung.RESTARTED and not self._restarted
        generation = fold.generation + restart
        frame = None
        if restart:
            self._restarted = True
            reason = "the model did not go on with the stored text"
            new.append(Restart(self._writer.writer_id, generation, self._attempt, reason, self._writer.clock.now()))
        if text:
            offset = 0 if restart else fold.length
            place = (generation, self._attempt, fold.seq + 1, offset)
            frame = Frame(self._writer.writer_id, *place, text, arrived_at, sequence)
            new.append(frame)
        if not new:
            if not inbox.finished.is_set():
                await self._writer.look_at_end()  # nothing came, somebody rang
            return
        await self._writer.append(*new)
        if untold:
            self._told_of = untold
            inbox.tell_waste(wasted)
        if restart:
            self._delivery.restarted(generation, self._attempt)
        if frame:
            self._delivery.frame(frame)

    def _upstream(self, call: ModelCall, wasted_tokens: int) -> UpstreamSeen:
        """The record of who answers, or was asked and has not answered yet."""
        upstream = call.upstream or Upstream(call.request.deployment, "unknown", None, None)
        return UpstreamSeen(
            self._writer.writer_id,
            upstream.deployment,
            upstream.region,
            upstream.request_id,
            call.response_id,
            upstream.api_version,
            call.model,
            self._prompt.system,
            [turn.turn_id for turn in self._prompt.earlier],
            call.called_at,
            self._writer.clock.now(),
            call.rung.value if call.rung else None,
            call.request.background or None,
            wasted_tokens,
        )


class _Reader:
    """Calls the model, rung after rung, until an answer goes on with the stored text."""

    def __init__(
        self,
        model: ChatModel,
        request: CompletionRequest,
        ladder: Ladder,
        inbox: _Inbox,
        cancellations: Cancellations,
    ) -> None:
        self._model = model
        self._request = request
        self._ladder = ladder
        self._inbox = inbox
        self._cancellations = cancellations

    async def read(self) -> None:
        rung = choose_rung(self._ladder)
        try:
            while not await self._try(rung):
                rung = rung_below(rung, self._ladder)
        except ModelFailure as failure:
            self._inbox.failure = failure
        finally:
            self._inbox.finished.set()
            self._inbox.hurry()

    async def _try(self, rung: Rung | None) -> bool:
        """Whether the answer on this rung goes on with the stored text. Raises ModelFailure."""
        request = self._ladder.request(rung, self._request)
        call = ModelCall(request, rung, self._ladder.matcher(rung), self._inbox.now())
        self._inbox.begin(call)
        try:
            await self._listen(call)
        except NoMatch:
            logger.info("An answer did not go on with the stored text (rung %s).", rung)
        except ResponseLost as lost:
            if rung is not Rung.REATTACHED or call.spoke:
                raise
            logger.info("A background response is lost (%s); going on without it.", lost.code)
            if lost.http_status is not None:
                return False  # the service does not know it: there is nothing to cancel
        else:
            return True
        if request.background and call.finish_reason is None:
            self._cancellations.start(request.deployment, call.response_id)
        return False

    async def _listen(self, call: ModelCall) -> None:
        async with self._opening(call) as stream:
            call.upstream = stream.upstream
            async for chunk in stream:
                is_named = call.response_id is not None
                self._inbox.add(call.take(chunk))
                if call.request.background and call.response_id is not None and not is_named:
                    self._inbox.arrived.set()  # its id is worth a record, before any text
            if call.finish_reason is None:
                message = "The model's stream ended in mid-answer."
                raise ModelFailure(FailureClass.CUT, "stream_ended_early", message)
        # Only at a real end what was held back is text: cut off in mid-answer it is a part of a character, and stored
        # it would contradict the whole one that the next attempt brings.
        self._inbox.add(call.finish())

    def _opening(self, call: ModelCall) -> AbstractAsyncContextManager[CompletionStream]:
        resume = self._ladder.resume
        if call.rung is Rung.REATTACHED and resume is not None:
            call.response_id = resume.response_id
            return self._model.reattach(call.request, resume.response_id, resume.sequence)
        return self._model.stream(call.request)


async def _until(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event came within this time; does not wait when it has come or no time is left."""
    if event.is_set() or seconds <= 0:
        return event.is_set()
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
