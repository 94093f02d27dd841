"""Silence of the model service, whatever it does to keep the connection busy: signs of life are what counts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from adapters.azure_openai import ModelConnection, OpenAIChatModel
from chat.completion import CompletionRequest, Message
from chat.errors import ModelFailure
from chat.failure_policy import FailureClass
from chat.silence import SilenceWatch

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
HI = b'data: {"id":"c1","choices":[{"delta":{"content":"Hi"}}]}\n\n'
STOP = b'data: {"id":"c1","choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
REQUEST = CompletionRequest((Message("user", "Hi"),), "mini")
PIECE_EVERY = 0.05

# What to send first, what to send again and again (for ever, or so many times), what then; and the limit in seconds.
Drip = Callable[[bytes, bytes, int | None, bytes, float], Awaitable[OpenAIChatModel]]


@pytest.fixture
async def drip() -> AsyncIterator[Drip]:
    """A model behind which a server sends a piece every 50 ms."""
    calls: list[asyncio.Task[None] | None] = []
    async with contextlib.AsyncExitStack() as opened:

        async def start(first: bytes, again: bytes, times: int | None, last: bytes, limit: float) -> OpenAIChatModel:
            async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                calls.append(asyncio.current_task())
                await reader.readuntil(b"\r\n\r\n")
                writer.write(first)
                sent = 0
                with contextlib.suppress(ConnectionError):
                    while (times is None or sent < times) and not writer.is_closing():
                        await asyncio.sleep(PIECE_EVERY)
                        writer.write(again)
                        await writer.drain()
                        sent += 1
                    writer.write(last)
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

            server = await asyncio.start_server(respond, "127.0.0.1", 0)
            opened.callback(server.close)
            port = server.sockets[0].getsockname()[1]
            model = OpenAIChatModel(ModelConnection(base_url=f"http://127.0.0.1:{port}/v1", read_timeout=limit))
            opened.push_async_callback(model.close)
            return model

        yield start
    await asyncio.gather(*filter(None, calls))


async def text_of(model: OpenAIChatModel, texts: list[str]) -> None:
    async with model.stream(REQUEST) as stream:
        async for chunk in stream:
            texts.append(chunk.text)


@pytest.mark.parametrize(
    "nothing",
    [
        b": keep-alive\n\n",
        b'data: {"id":"c1","choices":[{"delta":{"role":"assistant","content":""}}]}\n\n',
        b'data: {"id":"c1","choices":[]}\n\n',
        b"event: ping\ndata: {}\n\n",
    ],
)
async def test_a_service_that_keeps_the_connection_busy_without_answering_is_stalled(nothing: bytes, drip: Drip):
    """The transport hears bytes all the time: no read timeout of its own would ever end this."""
    model = await drip(HEAD + HI, nothing, None, b"", 0.4)
    texts: list[str] = []
    started = asyncio.get_running_loop().time()
    with pytest.raises(ModelFailure) as failed:
        await text_of(model, texts)
    assert (failed.value.failure_class, failed.value.code) == (FailureClass.STALLED, "read_timeout")
    assert "".join(texts) == "Hi"
    assert asyncio.get_running_loop().time() - started >= 0.4


@pytest.mark.parametrize("thought", [b'"reasoning_content":"hm"', b'"reasoning":"hm"', b'"tool_calls":[{"index":0}]'])
async def test_a_model_that_is_seen_to_think_is_not_stalled(thought: bytes, drip: Drip):
    event = b'data: {"choices":[{"delta":{%b}}]}\n\n' % thought
    model = await drip(HEAD, event, 30, HI + STOP, 1.0)  # 1.5 s of thoughts
    texts: list[str] = []
    await text_of(model, texts)
    assert "".join(texts) == "Hi"


async def test_silence_after_a_whole_answer_is_no_failure(drip: Drip):
    model = await drip(HEAD + HI + STOP, b": keep-alive\n\n", None, b"", 0.3)
    texts: list[str] = []
    await text_of(model, texts)
    assert "".join(texts) == "Hi"


def test_a_reasoning_model_is_never_given_less_time_than_the_others():
    assert ModelConnection(base_url="http://x", read_timeout=300).patience(is_reasoning=True) == 300
    assert ModelConnection(base_url="http://x", read_timeout=5).patience(is_reasoning=True) == 120
    assert ModelConnection(base_url="http://x", read_timeout=5).patience(is_reasoning=False) == 5


async def test_who_is_cancelled_inside_a_watch_is_cancelled_and_not_told_of_silence():
    entered = asyncio.Event()

    async def wait() -> None:
        async with SilenceWatch(30):
            entered.set()
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await entered.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_error_inside_a_watch_stays_what_it_is():
    with pytest.raises(KeyError):
        async with SilenceWatch(30):
            raise KeyError("x")
