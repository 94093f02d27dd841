"""Models with a memory, or without one: what the recovery ladder has to get along with."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from chat.completion import Chunk, CompletionRequest, Upstream
from chat.errors import ModelFailure, ResponseLost
from chat.failure_policy import FailureClass

Script = Sequence[str | ModelFailure]


class Answering:
    """A stream of these pieces; events are numbered from `first` on."""

    def __init__(self, request: CompletionRequest, response_id: str, script: Script, first: int = 0) -> None:
        self.upstream = Upstream(request.deployment, "Japan East", "request-1", "v1")
        self._response_id = response_id
        self._script = script
        self._first = first

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        if self._first == 0:
            yield Chunk(response_id=self._response_id, model="gpt-x", sequence=0)
        for number, piece in enumerate(self._script, 1):
            if number < self._first:
                continue
            await asyncio.sleep(0)
            if isinstance(piece, ModelFailure):
                raise piece
            yield Chunk(text=piece, sequence=number)
        yield Chunk(finish_reason="stop", sequence=len(self._script) + 1)


class ForgetfulModel:
    """Gives `fresh(n)` to the n-th question (from 1), and `continued(n, unfinished, instruction)` to a request to
    continue; nothing can be read again."""

    def __init__(
        self, fresh: Callable[[int], Script], continued: Callable[[int, str, str], Script] = lambda *asked: []
    ) -> None:
        self._fresh = fresh
        self._continued = continued
        self.requests: list[CompletionRequest] = []

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[Answering]:
        self.requests.append(request)
        number, messages = len(self.requests), request.messages
        if len(messages) > 1 and messages[-2].role == "assistant":
            script = self._continued(number, messages[-2].content, messages[-1].content)
        else:
            script = self._fresh(number)
        yield Answering(request, f"chatcmpl-{number}", script)

    @asynccontextmanager
    async def reattach(
        self, request: CompletionRequest, response_id: str, after: int | None
    ) -> AsyncIterator[Answering]:
        raise lost()
        yield  # what makes it a generator

    async def cancel(self, deployment: str, response_id: str) -> None:
        raise lost()


class RememberingModel(ForgetfulModel):
    """Keeps its background responses, until it is told to forget them."""

    def __init__(
        self, fresh: Callable[[int], Script], continued: Callable[[int, str, str], Script] = lambda *asked: []
    ) -> None:
        super().__init__(fresh, continued)
        self.responses: dict[str, Script] = {}
        self.reattached: list[tuple[str, int | None]] = []
        self.cancelled: list[tuple[str, str]] = []

    @asynccontextmanager
    async def stream(self, request: CompletionRequest) -> AsyncIterator[Answering]:
        async with super().stream(request) as answering:
            if request.background:
                self.responses[f"chatcmpl-{len(self.requests)}"] = answering._script
            yield answering

    @asynccontextmanager
    async def reattach(
        self, request: CompletionRequest, response_id: str, after: int | None
    ) -> AsyncIterator[Answering]:
        self.reattached.append((response_id, after))
        if response_id not in self.responses:
            raise lost()
        script = [piece for piece in self.responses[response_id] if isinstance(piece, str)]
        yield Answering(request, response_id, script, 0 if after is None else after + 1)

    async def cancel(self, deployment: str, response_id: str) -> None:
        self.cancelled.append((deployment, response_id))


def lost() -> ResponseLost:
    return ResponseLost(FailureClass.TRANSIENT, "404", "There is no such response.", http_status=404)
