"""Frames over HTTP: what a turn's journal holds from a position on, as a long poll or as server-sent events.

Both read the same way. A reader that finds nothing new looks at the whole journal now and then: because the turn may be
over, or because nobody writes and it has to be helped along.

A stream of events is bounded: it says something every 10 s, so that nothing on the way takes it for dead, and ends by
itself after some minutes; an EventSource then comes again with the id of the last event it saw.
"""

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from azure.durable_functions import DurableOrchestrationClient
from azurefunctions.extensions.http.fastapi import Request, Response, StreamingResponse

from adapters import clients
from chat import records
from chat.errors import InvalidInput, JournalMissing, StorageUnavailable
from chat.journal import read_journal
from chat.records import End, Logged
from chat.turn import conversation_key_of
from chat.turn_view import FramesSince, WireFrame, frames_since
from http_triggers.answers import HttpError, answer, answers_errors
from http_triggers.silent_turns import help_along
from http_triggers.turns import check_owner

LONGEST_WAIT = 25.0  # seconds of a long poll; proxies on the way give up after 30 or more
CHECK_EVERY = 2.0  # seconds; a reader that finds nothing new looks at the whole journal so often
READ_BACK = 4096  # bytes before a position; an `end` is shorter, so who begins after one is told so at once

# Seconds without a byte after which a comment is sent. Functions on Azure cuts a connection after 230 s, many a proxy
# and mobile network after 30 to 60, and a read that storage does not answer may add 15.
HEARTBEAT = 10.0
# Seconds after which a stream ends and the client comes again: far below functionTimeout (which ends the whole worker),
# and an instance that is to be removed gets rid of its readers.
LIFETIME = 300.0
RETRY = 1000  # ms until an EventSource comes again; a host that was killed is back after about two seconds
STREAMS_AT_ONCE = 64  # of one caller in one process, of the 200 requests that an instance serves at once

# A position, and seconds with up to three decimals. Nothing else that int() and float() would take.
_POSITION = re.compile(r"[0-9]{1,15}")
_SECONDS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,3})?")

_streams: Counter[str] = Counter()

logger = logging.getLogger(__name__)


@answers_errors
async def turn_frames(req: Request, client: DurableOrchestrationClient) -> Response:
    """GET api/turns/{turn_id}/frames?after=N&wait=S: the frames since a position; waits for some if there are none."""
    turn = req.path_params["turn_id"]
    await check_owner(req, turn)
    wait = _wait(req)
    reader = FrameReader(turn, client, "after")
    await reader.open(_once(req, "after") or "0")
    frames = [frame.fields for frame in await reader.wait(wait, req.is_disconnected)]
    return answer({"frames": frames, "next": reader.position, "ended": reader.ended})


@answers_errors
async def turn_stream(req: Request, client: DurableOrchestrationClient) -> Response:
    """GET api/turns/{turn_id}/stream?after=N: the frames as they come, as server-sent events, until the end.

    `Last-Event-ID` goes before `after`: a client that comes again asks for the same address. 204 when there is nothing
    after the position and never will be, which is what tells an EventSource to stay away.
    """
    turn = req.path_params["turn_id"]
    owner = await check_owner(req, turn)
    after, seen = _once(req, "after"), req.headers.get("last-event-id")
    reader = FrameReader(turn, client, "after" if seen is None else "Last-Event-ID")
    await reader.open((after or "0") if seen is None else seen)
    first = await reader.wait(0)
    if not first and reader.ended:
        return Response(status_code=204, headers={"Cache-Control": "no-store"})
    if _streams[owner] >= STREAMS_AT_ONCE:
        message = f"You read {STREAMS_AT_ONCE} streams already; close one of them."
        raise HttpError(429, "too_many_streams", message, headers={"Retry-After": "5"})
    return StreamingResponse(
        await _counted(owner, event_stream(reader, first)),
        media_type="text/event-stream",
        # The second keeps nginx from collecting what is to be seen at once.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


class FrameReader:
    """Reads the frames of one turn from a position on. `ended`: there are none after those it has returned."""

    def __init__(self, turn: str, client: DurableOrchestrationClient, field: str) -> None:
        self.turn = turn
        self.position = 0
        self.ended = False
        self._client = client
        self._field = field  # what a wrong position is to be blamed on
        self._found: list[WireFrame] = []
        self._next_check = 0.0

    async def open(self, position: str) -> None:
        """Begin at this position. Raises InvalidInput when it is not the end of a record of this journal."""
        message = f"{self._field} must be a position that was given out for this turn."
        if not _POSITION.fullmatch(position):
            raise InvalidInput(self._field, message)
        self.position = int(position)
        start = max(0, self.position - READ_BACK)
        data = await clients.journal().read(conversation_key_of(self.turn), self.turn, start)
        before, after = data[: self.position - start], data[self.position - start :]
        if self.position and (len(before) < self.position - start or not before.endswith(b"\n")):
            raise InvalidInput(self._field, message)
        self._take(after)
        self._next_check = _time() + (0 if _ends_a_turn(before) else CHECK_EVERY)

    async def wait(self, seconds: float, gone: Callable[[], Awaitable[bool]] | None = None) -> list[WireFrame]:
        """The new frames, waiting so many seconds if there are none; nobody waits for a client that is gone."""
        deadline = _time() + seconds
        while not self._found and not self.ended:
            if _time() >= min(deadline, self._next_check):
                await self._check()
            if self.ended or _time() >= deadline or (gone is not None and await gone()):
                break
            self._take(await clients.journal_tails().tail(self.turn, self.position))
        found, self._found = self._found, []
        return found

    def _take(self, data: bytes) -> None:
        since: FramesSince = frames_since(data, self.position)
        self._found += since.frames
        self.position = since.next
        self.ended = self.ended or since.over

    async def _check(self) -> None:
        """Nothing since: because it is over and all was read, or because nobody writes."""
        fold = await read_journal(clients.journal(), self.turn)
        self.ended = fold.end is not None and fold.position == self.position
        await help_along(fold, self._client)
        self._next_check = _time() + CHECK_EVERY


async def event_stream(
    reader: FrameReader, frames: list[WireFrame], *, heartbeat: float = HEARTBEAT, lifetime: float = LIFETIME
) -> AsyncGenerator[bytes]:
    """The bytes of a stream: these frames, then what the reader finds, until the end or the end of its time."""
    over = _time() + lifetime
    # At once, because the head of the answer leaves with its first byte.
    yield b"retry: %d\n\n" % RETRY + b"".join(map(event, frames))
    while not reader.ended:
        if _time() >= over:
            yield b": come again\n\n"
            return
        try:
            frames = await reader.wait(min(heartbeat, max(0.0, over - _time())))
        except StorageUnavailable as error:
            # An EventSource that is told so by a status gives up for good; so it waits here.
            logger.warning("A stream waits for storage: %s", error, extra={"turn_id": reader.turn})
            await asyncio.sleep(min(heartbeat, CHECK_EVERY))
            frames = []
        except JournalMissing:  # purged meanwhile
            return
        yield b"".join(map(event, frames)) or b": still here\n\n"


def event(frame: WireFrame) -> bytes:
    """One event: the position after the record, its kind, and the rest as JSON on one line."""
    rest = {name: value for name, value in frame.fields.items() if name != "kind"}
    data = json.dumps(rest, ensure_ascii=False, separators=(",", ":"))
    return f"id: {frame.position}\nevent: {frame.kind}\ndata: {data}\n\n".encode()


def _ends_a_turn(data: bytes) -> bool:
    """Whether the last line of these bytes, which may begin within a line, is a record after which no frame comes."""
    *_, last = data.splitlines(keepends=True) or [b""]
    return last.startswith(b"{") and any(isinstance(record, End | Logged) for record, _ in records.decode(last))


async def _counted(owner: str, stream: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The stream, counted from now on until it ends or is given up, also when its client left before its first byte.

    Counting begins without a pause: of many that are opened at once none slips between the check and the count.
    """
    counting = _count(owner, stream)
    await anext(counting)
    return counting


async def _count(owner: str, stream: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    _streams[owner] += 1
    try:
        yield b""  # to its opener: only what has begun is also ended, whoever drops it
        async with aclosing(stream):
            async for piece in stream:
                yield piece
    finally:
        _streams[owner] -= 1
        if not _streams[owner]:
            del _streams[owner]


def _once(req: Request, name: str) -> str | None:
    """A parameter of the query that may stand there once; None when it does not. Raises InvalidInput."""
    values = req.query_params.getlist(name)
    if len(values) > 1 or values == [""]:
        raise InvalidInput(name, f"{name} must have one value.")
    return values[0] if values else None


def _wait(req: Request) -> float:
    text = _once(req, "wait") or "0"
    if not _SECONDS.fullmatch(text) or float(text) > LONGEST_WAIT:
        raise InvalidInput("wait", f"wait must be a number of seconds from 0 to {LONGEST_WAIT:g}.")
    return float(text)


def _time() -> float:
    return asyncio.get_running_loop().time()
