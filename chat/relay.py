"""The relay: the model's answer on its way into the journal and to the browser.

Theory of operation. A reader task takes chunks from the model as fast as they come, into an inbox. The writer takes
the first text at once and then whatever came within a window of about 100 ms (chat/pace.py): one append, and when it
succeeded the frame goes to the browser. Only one append is in flight.

While nothing arrives the writer looks at the journal's end (a stop, another run's claim) every 200 ms, and says
`alive` every 10 s, so that readers can tell a slow model from a dead worker.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from chat.completion import Chunk, CompletionRequest, Upstream
from chat.conversation import Prompt
from chat.delivery import Delivery
from chat.errors import ModelFailure
from chat.failure_policy import FailureClass
from chat.frames import TextJoiner, utf16_length
from chat.journal_writer import JournalWriter
from chat.pace import Pace, Window
from chat.records import Frame, Record, Redact, Restart, UpstreamSeen
from chat.recovery import PrefixVerifier, Rung, Verified


class CompletionStream(Protocol):
    """An answer that has begun."""

    @property
    def upstream(self) -> Upstream: ...

    def __aiter__(self) -> AsyncIterator[Chunk]: ...


class ChatModel(Protocol):
    """A model that streams completions. Entering and iterating raise ModelFailure; leaving closes the connection."""

    def stream(self, request: CompletionRequest) -> AbstractAsyncContextManager[CompletionStream]: ...


@dataclass(slots=True)
class Answer:
    """What is known when the stream is over; the text is in the journal."""

    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    filters: dict[str, Any] | None = None
    rung: Rung | None = None
    failure: ModelFailure | None = None
    delivery_errors: int = 0


class _Inbox:
    """What the reader has received and the writer has not yet taken."""

    def __init__(self, writer: JournalWriter) -> None:
        self._clock = writer.clock
        self._joiner = TextJoiner()
        self.verifier = PrefixVerifier(writer.fold.text)
        self.answer = Answer(rung=Rung.VERIFIED if writer.fold.text else None)
        self.called_at = writer.clock.now()
        self.upstream: Upstream | None = None
        self.response_id: str | None = None
        self.model: str | None = None
        self.covered: tuple[int, int] | None = None  # code points that the filter wants retracted
        self.arrived = asyncio.Event()  # there is something to write
        self.finished = asyncio.Event()
        self._pieces: list[str] = []
        self._restart = False
        self._first_at = 0

    def take_chunk(self, chunk: Chunk) -> None:
        self.response_id = self.response_id or chunk.response_id
        self.model = self.model or chunk.model
        answer = self.answer
        answer.usage = chunk.usage or answer.usage
        # An annotation may follow the chunk that says `stop`; what the filter says counts more.
        if chunk.finish_reason and answer.finish_reason != "content_filter":
            answer.finish_reason = chunk.finish_reason
        if chunk.prompt_filter:
            answer.filters = (answer.filters or {}) | {"prompt": chunk.prompt_filter}
        if chunk.content_filter:
            answer.filters = (answer.filters or {}) | {"completion": chunk.content_filter}
        if chunk.content_filter_offsets and chunk.finish_reason == "content_filter":
            offsets = chunk.content_filter_offsets
            self.covered = (offsets.get("start_offset", 0), offsets.get("end_offset", 0))
        if chunk.text:
            self._add(self._joiner.feed(chunk.text))

    def close(self) -> None:
        """The stream is over. Only at a real end what was held back is text: cut off in mid-answer it is a part of a
        character, and stored it would contradict the whole one that the next attempt brings."""
        if self.answer.failure is None:
            self._add(self._joiner.finish())
            self._add_verified(self.verifier.finish())
        self.finished.set()
        self.arrived.set()

    def _add(self, text: str) -> None:
        if text:
            self._add_verified(self.verifier.feed(text))

    def _add_verified(self, verified: Verified) -> None:
        if not verified.text and not verified.restart:
            return
        if not self.arrived.is_set():
            self._first_at = self._clock.now()
        self._restart = self._restart or verified.restart
        self._pieces.append(verified.text)
        self.arrived.set()

    def take_output(self) -> tuple[str, bool, int]:
        """The new text, whether it begins a new generation, and when its first piece arrived."""
        taken = "".join(self._pieces), self._restart, self._first_at
        self._pieces.clear()
        self._restart = False
        if not self.finished.is_set():
            self.arrived.clear()
        return taken


class Relay:
    """One answer of the model, written and shown by one run."""

    def __init__(self, writer: JournalWriter, delivery: Delivery, attempt: int, prompt: Prompt, pace: Pace) -> None:
        self._writer = writer
        self._delivery = delivery
        self._attempt = attempt
        self._prompt = prompt
        self._pace = pace
        self._upstream_written = False

    async def relay(self, model: ChatModel, request: CompletionRequest) -> Answer:
        """Ask the model and write its answer down; returns when the stream is over.

        A failure of the model comes back inside the answer, after the text before it was written. What the writer
        learns (Decided, Fenced, JournalChanged, StorageUnavailable) is raised, and closes the model's stream.
        """
        inbox = _Inbox(self._writer)
        reader = asyncio.create_task(_read(model, request, inbox))
        try:
            await self._write(inbox)
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        return inbox.answer

    async def _write(self, inbox: _Inbox) -> None:
        time = asyncio.get_running_loop().time
        looked = appended = time()
        window, due = Window(self._pace.window), 0.0  # the first text goes at once
        while not inbox.finished.is_set():
            if inbox.arrived.is_set():
                await _until(inbox.finished, due - time())
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
        if inbox.covered:
            await self._redact(*inbox.covered)

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
        text, restart, arrived_at = inbox.take_output()
        fold, new = self._writer.fold, list(self._upstream(inbox))
        generation = fold.generation + restart
        frame = None
        if restart:
            inbox.answer.rung = Rung.RESTARTED
            reason = "the model's new answer differs from the stored text"
            new.append(Restart(self._writer.writer_id, generation, self._attempt, reason, self._writer.clock.now()))
        if text:
            offset = 0 if restart else fold.length
            frame = Frame(self._writer.writer_id, generation, self._attempt, fold.seq + 1, offset, text, arrived_at)
            new.append(frame)
        if not new:
            return
        await self._writer.append(*new)
        if restart:
            self._delivery.restarted(generation, self._attempt)
        if frame:
            self._delivery.frame(frame)

    def _upstream(self, inbox: _Inbox) -> list[Record]:
        """The record of who answers, with the first frame: one append less before the first text."""
        upstream = inbox.upstream
        if upstream is None or self._upstream_written:
            return []
        self._upstream_written = True
        return [
            UpstreamSeen(
                self._writer.writer_id,
                upstream.deployment,
                upstream.region,
                upstream.request_id,
                inbox.response_id,
                upstream.api_version,
                inbox.model,
                self._prompt.system,
                [turn.turn_id for turn in self._prompt.earlier],
                inbox.called_at,
                self._writer.clock.now(),
            )
        ]


async def _read(model: ChatModel, request: CompletionRequest, inbox: _Inbox) -> None:
    try:
        async with model.stream(request) as stream:
            inbox.upstream = stream.upstream
            async for chunk in stream:
                inbox.take_chunk(chunk)
        if inbox.answer.finish_reason is None:
            raise ModelFailure(FailureClass.TRANSIENT, "stream_ended_early", "The model's stream ended in mid-answer.")
    except ModelFailure as failure:
        inbox.answer.failure = failure
    finally:
        inbox.close()


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
