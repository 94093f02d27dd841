"""Doubles of the app's neighbours. Each implements one of our protocols and is read at a glance."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from chat.completion import Chunk, CompletionRequest, Upstream
from chat.conversation import Conversation, FinishedTurn
from chat.errors import DeliveryFailed, JournalMissing, JournalMoved, ModelFailure, ResponseLost
from chat.failure_policy import FailureClass


class Killed(BaseException):
    """The process is gone: nothing after this runs. Not an Exception, so that no handler takes it for an error."""


class MemoryJournals:
    """The journals of an app in memory. `before_append(turn_id, data)` may raise, or change the store first."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.orders: dict[str, list[str]] = {}
        self.usage: dict[tuple[str, int], bytes] = {}
        self.marked: set[str] = set()
        self.appends = 0
        self.before_append: Callable[[str, bytes], None] = lambda turn_id, data: None
        self.after_append: Callable[[str, bytes], None] = lambda turn_id, data: None

    async def create(self, conversation_key: str, turn_id: str) -> bool:
        if turn_id in self.blobs:
            return False
        self.blobs[turn_id] = b""
        return True

    async def append(self, conversation_key: str, turn_id: str, data: bytes, position: int | None) -> int:
        self.before_append(turn_id, data)
        if turn_id not in self.blobs:
            raise JournalMissing(turn_id)
        if position is not None and position != len(self.blobs[turn_id]):
            raise JournalMoved(turn_id)
        self.blobs[turn_id] += data
        self.appends += 1
        self.after_append(turn_id, data)
        return len(self.blobs[turn_id])

    async def read(self, conversation_key: str, turn_id: str, start: int = 0) -> bytes:
        await asyncio.sleep(0)
        if turn_id not in self.blobs:
            raise JournalMissing(turn_id)
        return self.blobs[turn_id][start:]

    async def prepare_order(self, conversation_key: str) -> None:
        await asyncio.sleep(0)

    async def append_order(self, conversation_key: str, turn_id: str) -> None:
        self.orders.setdefault(conversation_key, []).append(turn_id)

    async def read_order(self, conversation_key: str) -> list[str]:
        return list(dict.fromkeys(self.orders.get(conversation_key, [])))

    async def append_usage(self, user: str, day: int, data: bytes, position: int | None) -> int:
        await asyncio.sleep(0)
        kept = self.usage.get((user, day), b"")
        if position is not None and position != len(kept):
            raise JournalMoved(user)
        self.usage[user, day] = kept + data
        return len(self.usage[user, day])

    async def read_usage(self, user: str, day: int, start: int) -> bytes:
        await asyncio.sleep(0)
        return self.usage.get((user, day), b"")[start:]

    async def put_marker(self, turn_id: str, content: bytes = b"") -> None:
        self.marked.add(turn_id)

    async def delete_marker(self, turn_id: str) -> None:
        self.marked.discard(turn_id)


class ManualClock:
    """A clock that moves when it is told to."""

    def __init__(self, now: int = 1_800_000_000_000) -> None:
        self._now = now

    def now(self) -> int:
        return self._now

    def move(self, milliseconds: int) -> None:
        self._now += milliseconds


class ScriptedModel:
    """A model that answers what it was told to: texts, whole chunks, or an exception to raise at that place."""

    def __init__(self, *script: str | Chunk | BaseException, finish_reason: str | None = "stop") -> None:
        self.script = script
        self.finish_reason = finish_reason
        self.requests: list[CompletionRequest] = []
        self.open = 0

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator["ScriptedStream"]:
        self.requests.append(request)
        self.open += 1
        try:
            yield ScriptedStream(self, request)
        finally:
            self.open -= 1

    @asynccontextmanager
    async def reattach(
        self, request: CompletionRequest, response_id: str, after: int | None
    ) -> AsyncIterator["ScriptedStream"]:
        raise ResponseLost(FailureClass.TRANSIENT, "404", "This model forgets.")
        yield  # what makes it a generator

    async def cancel(self, deployment: str, response_id: str) -> None:
        raise ResponseLost(FailureClass.TRANSIENT, "404", "This model forgets.")


class ScriptedStream:
    def __init__(self, model: ScriptedModel, request: CompletionRequest) -> None:
        self._model = model
        self.upstream = Upstream(request.deployment, "Japan East", "request-1", "2024-10-21")

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        for piece in self._model.script:
            await asyncio.sleep(0)
            if isinstance(piece, BaseException):
                raise piece
            yield piece if isinstance(piece, Chunk) else Chunk(text=piece, response_id="chatcmpl-1", model="gpt-x")
        if self._model.finish_reason:
            yield Chunk(finish_reason=self._model.finish_reason)
            yield Chunk(usage={"total_tokens": 3})


class RecordingBrowser:
    """Keeps what is sent to it; fails as often as `failures` says."""

    def __init__(self, failures: int = 0, *, temporary: bool = False) -> None:
        self.sent: list[tuple[str, str, list[Any]]] = []
        self.failures = failures
        self.temporary = temporary

    async def send_to_user(self, user_id: str, target: str, arguments: list[Any]) -> None:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise DeliveryFailed("503", temporary=self.temporary)
        self.sent.append((user_id, target, arguments))

    def arguments(self, target: str) -> list[list[Any]]:
        return [arguments for _, sent_target, arguments in self.sent if sent_target == target]

    @property
    def text(self) -> str:
        """What a page shows that applies the messages in order."""
        text, generation = "", 0
        for _, target, arguments in self.sent:
            if target == "token":
                if arguments[1]["generation"] > generation:
                    text, generation = "", arguments[1]["generation"]
                text += arguments[0]
        return text


class FakeInstances:
    """Instances that are merely noted."""

    def __init__(self, known: Iterable[FinishedTurn] = ()) -> None:
        self.started: list[str] = []
        self.woken: list[tuple[str, str]] = []
        self.state = Conversation(turns=list(known))

    async def conversation(self, conversation_key: str) -> Conversation:
        return self.state

    async def exists(self, turn_id: str) -> bool:
        return turn_id in self.started

    async def start(self, turn_id: str) -> None:
        await asyncio.sleep(0)
        self.started.append(turn_id)

    async def wake(self, turn_id: str, ended_turn_id: str) -> None:
        self.woken.append((turn_id, ended_turn_id))


class CollectingLog:
    """An Event Hub that refuses as often as it is told to."""

    def __init__(self, *refusals: Exception, max_bytes: int = 1024 * 1024) -> None:
        self.refusals = list(refusals)
        self.max_bytes = max_bytes
        self.events: list[tuple[str, str, bytes]] = []

    async def send(self, body: bytes, *, message_id: str, partition_key: str) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.events.append((message_id, partition_key, body))


def failure(failure_class: Any, code: str = "code", retry_after: float | None = None) -> ModelFailure:
    return ModelFailure(failure_class, code, "It did not work.", retry_after=retry_after)
