"""A backend for the page's tests: the HTTP API and the SignalR hub, with answers written by the test.

A test holds a `FakeTurn` and appends records to its journal, as the real writer would; the page reads them over HTTP
and, while `signalr` is on, hears them from the hub. `on_the_way` stands between the journal and the hub: it is given
each message and returns what arrives, so a test can lose, double and reorder. The journal itself loses nothing.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

WEB = Path(__file__).parents[2] / "web"
RECORD_END = "\x1e"
TURNS_IN_A_PAGE = 20
TARGETS = {"restart": "turnRestarted", "redact": "turnRedacted", "wait": "turnWaiting", "end": "turnEnded"}

Json = dict[str, Any]
Message = tuple[str, list[Any]]  # target and arguments


def utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@dataclass
class FakeTurn:
    """One turn: its journal, and the text that its records amount to."""

    turn_id: str
    conversation_id: str
    prompt: str
    send: Callable[[str, list[Any]], Awaitable[None]]
    records: list[Json] = field(default_factory=list)
    text: str = ""
    generation: int = 1
    attempt: int = 1
    status: str = "running"
    grew: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ids(self) -> Json:
        return {"turnId": self.turn_id, "conversationId": self.conversation_id}

    async def append(self, record: Json) -> None:
        """Durable before visible: the journal first, then the hub."""
        whole = {"generation": self.generation, "attempt": self.attempt, **record}
        self.records.append(whole)
        self.grew.set()
        self.grew = asyncio.Event()
        kind = whole["kind"]
        if kind == "frame":
            about = {key: whole[key] for key in ("generation", "attempt", "seq", "offset")}
            await self.send("token", [whole["text"], {**self.ids, **about}])
        elif kind in TARGETS:
            about = {key: value for key, value in whole.items() if key != "kind"}
            await self.send(TARGETS[kind], [{**self.ids, **about}])

    async def say(self, text: str) -> None:
        offset = utf16_length(self.text)
        self.text += text
        await self.append({"kind": "frame", "seq": len(self.records) + 1, "offset": offset, "text": text})

    async def restart(self) -> None:
        self.generation += 1
        self.text = ""
        await self.append({"kind": "restart"})

    async def redact(self, offset: int, length: int) -> None:
        """Cover a span; the tests' spans hold no characters beyond the BMP, so code points will do."""
        self.generation += 1
        self.text = self.text[:offset] + "█" * length + self.text[offset + length :]
        await self.append({"kind": "redact", "offset": offset, "length": length})

    async def wait(self, until: str, code: str = "rate_limited") -> None:
        await self.append({"kind": "wait", "until": until, "code": code})

    async def end(
        self, status: str = "completed", *, finish_reason: str | None = "stop", error: Json | None = None, **lies: Any
    ) -> None:
        self.status = status
        figures = {"length": utf16_length(self.text), "sha256": hashlib.sha256(self.text.encode()).hexdigest()}
        await self.append(
            {"kind": "end", "status": status, "finishReason": finish_reason, "error": error, **figures, **lies}
        )


class SignalRService(Protocol):
    """A SignalR service beside the backend, as a page and a server see it."""

    @property
    def url(self) -> str: ...

    def connection_info(self) -> Json: ...

    async def send(self, target: str, arguments: list[Any]) -> None: ...


@dataclass
class FakeBackend:
    """The server's side of the page; every attribute may be changed while it runs."""

    script: Callable[[FakeTurn], Awaitable[None]]
    signalr: bool = True
    on_the_way: Callable[[Message], list[Message]] = lambda message: [message]
    refuse_turn: Callable[[int], web.Response | None] = lambda count: None
    break_frames: Callable[[], bool] = lambda: False
    refuse_stop: Callable[[int], web.Response | None] = lambda count: None
    refuse_conversation: Callable[[], web.Response | None] = lambda: None
    service: "SignalRService | None" = None  # a real one, instead of the hub below
    reveal_ms: int = 33
    url: str = ""
    turns: dict[str, FakeTurn] = field(default_factory=dict)
    order: dict[str, list[str]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    posts: list[str] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    negotiations: int = 0
    sockets: set[web.WebSocketResponse] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    def turn(self, index: int = -1) -> FakeTurn:
        return list(self.turns.values())[index]

    async def broadcast(self, target: str, arguments: list[Any]) -> None:
        for arrived, values in self.on_the_way((target, arguments)):
            await self.deliver(arrived, values)

    async def deliver(self, target: str, arguments: list[Any]) -> None:
        if self.service is not None:
            await self.service.send(target, arguments)
            return
        record = json.dumps({"type": 1, "target": target, "arguments": arguments}) + RECORD_END
        for socket in list(self.sockets):
            if not socket.closed:
                await socket.send_str(record)

    async def drop_connections(self) -> None:
        for socket in list(self.sockets):
            await socket.close()

    def store(self, conversation_id: str, prompt: str, **attributes: Any) -> FakeTurn:
        """A turn that is in the conversation already."""
        turn = FakeTurn(f"turn-{len(self.turns) + 1}", conversation_id, prompt, self.broadcast, **attributes)
        self.turns[turn.turn_id] = turn
        self.order.setdefault(conversation_id, []).append(turn.turn_id)
        return turn

    # ---- routes

    async def start_turn(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        self.posts.append(key)
        refusal = self.refuse_turn(len(self.posts))
        if refusal is not None:
            return refusal
        conversation_id = request.match_info["conversation_id"]
        if key not in self.keys:
            turn = self.store(conversation_id, (await request.json())["prompt"])
            self.keys[key] = turn.turn_id
            await self.broadcast("turnStarted", [{**turn.ids, "generation": 1}])
            task = asyncio.create_task(self._run(turn))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        turn = self.turns[self.keys[key]]
        status_url = f"/api/turns/{turn.turn_id}"
        body = {"ok": True, **turn.ids, "statusUrl": status_url, "framesUrl": f"{status_url}/frames"}
        return web.json_response(body, status=202)

    async def _run(self, turn: FakeTurn) -> None:
        await self.script(turn)

    async def status(self, request: web.Request) -> web.Response:
        turn = self.turns.get(request.match_info["turn_id"])
        if turn is None:
            return not_found("This turn does not exist.")
        end = next((record for record in turn.records if record["kind"] == "end"), {})
        body = {**turn.ids, "status": turn.status, "text": turn.text, "error": end.get("error")}
        return web.json_response(body, status=202 if turn.status == "running" else 200)

    async def stop(self, request: web.Request) -> web.Response:
        """Stops at once, unless `refuse_stop` has something else to say."""
        turn = self.turns.get(request.match_info["turn_id"])
        if turn is None:
            return not_found("This turn does not exist.")
        self.stops.append(turn.turn_id)
        refusal = self.refuse_stop(len(self.stops))
        if refusal is not None:
            return refusal
        if turn.status == "running":
            await turn.end("stopped", finish_reason="stopped")
        if turn.status != "stopped":
            error = {"code": "turn_ended", "message": "There is nothing to stop."}
            return web.json_response({"error": error, "turn": {"status": turn.status}}, status=409)
        return web.json_response({**turn.ids, "status": turn.status, "text": turn.text})

    async def frames(self, request: web.Request) -> web.Response:
        if self.break_frames():
            return web.Response(status=503, text="no")
        turn = self.turns.get(request.match_info["turn_id"])
        if turn is None:
            return not_found("This turn does not exist.")
        after = int(request.query.get("after", "0"))
        wait = float(request.query.get("wait", "0"))
        if wait and after >= len(turn.records):
            grown = [asyncio.ensure_future(turn.grew.wait()), asyncio.ensure_future(self.closing.wait())]
            await asyncio.wait(grown, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            for task in grown:
                task.cancel()
        ended = any(record["kind"] == "end" for record in turn.records)
        return web.json_response({"frames": turn.records[after:], "next": str(len(turn.records)), "ended": ended})

    async def conversation(self, request: web.Request) -> web.Response:
        conversation_id = request.match_info["conversation_id"]
        refusal = self.refuse_conversation()
        if refusal is not None:
            return refusal
        if conversation_id not in self.order:
            return not_found("This conversation does not exist.")
        messages: list[Json] = []
        order = self.order[conversation_id]
        last = int(request.query.get("before", len(order)))
        first = max(0, last - TURNS_IN_A_PAGE)
        for turn_id in order[first:last]:
            turn = self.turns[turn_id]
            about = {"turnId": turn_id, "status": turn.status}
            messages.append({"role": "user", "content": turn.prompt, **about})
            if turn.status != "running":
                messages.append({"role": "assistant", "content": turn.text, **about})
        now = datetime.now(UTC).isoformat()
        head: Json = {"conversationId": conversation_id, "title": None, "createdAt": now, "updatedAt": now}
        return web.json_response({**head, "messages": messages, "next": first or None})

    async def chat_stream(self, request: web.Request) -> web.Response:
        turn = self.store("tutorial", (await request.json())["prompt"])
        task = asyncio.create_task(self._run(turn))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return web.json_response({"ok": True, **turn.ids}, status=202)

    async def negotiate(self, request: web.Request) -> web.Response:
        self.negotiations += 1
        if not self.signalr:
            return web.json_response({"error": {"code": "unavailable", "message": "SignalR is away."}}, status=503)
        if self.service is not None:
            return web.json_response(self.service.connection_info())
        return web.json_response({"url": f"{self.url}/client/?hub=chat", "accessToken": f"token-{self.negotiations}"})

    async def client_negotiate(self, request: web.Request) -> web.Response:
        transports = [{"transport": "WebSockets", "transferFormats": ["Text", "Binary"]}]
        ids = {"connectionId": "public", "connectionToken": f"secret-{self.negotiations}"}
        return web.json_response({"negotiateVersion": 1, **ids, "availableTransports": transports})

    async def client(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=1)
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            for record in filter(None, message.data.split(RECORD_END)):
                if "protocol" in json.loads(record):
                    await socket.send_str("{}" + RECORD_END)
                    self.sockets.add(socket)
        self.sockets.discard(socket)
        return socket

    async def index(self, request: web.Request) -> web.Response:
        page = (WEB / "index.html").read_text()
        page = page.replace('name="reveal-ms" content="33"', f'name="reveal-ms" content="{self.reveal_ms}"')
        return web.Response(text=page, content_type="text/html")

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._log], client_max_size=4 * 1024**2)
        app.on_response_prepare.append(self._protect)
        app.add_routes(
            [
                web.get("/", self.index),
                web.post("/api/negotiate", self.negotiate),
                web.post("/api/chat_stream", self.chat_stream),
                web.post("/api/conversations/{conversation_id}/turns", self.start_turn),
                web.get("/api/conversations/{conversation_id}", self.conversation),
                web.get("/api/turns/{turn_id}", self.status),
                web.get("/api/turns/{turn_id}/frames", self.frames),
                web.post("/api/turns/{turn_id}/stop", self.stop),
                web.post("/client/negotiate", self.client_negotiate),
                web.get("/client/", self.client),
                web.static("/assets", WEB),
            ]
        )
        return app

    @web.middleware
    async def _log(self, request: web.Request, handler: Any) -> Any:
        self.requests.append(f"{request.method} {request.path_qs}")
        return await handler(request)

    async def _protect(self, request: web.Request, response: web.StreamResponse) -> None:
        hub = self.service.url if self.service is not None else self.url
        response.headers["Content-Security-Policy"] = (
            "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            f"connect-src 'self' {hub} {hub.replace('http', 'ws')}"
        )


def not_found(message: str) -> web.Response:
    return web.json_response({"error": {"code": "not_found", "message": message}}, status=404)


async def say_nothing(turn: FakeTurn) -> None:
    """The test appends the records itself."""


@asynccontextmanager
async def run_backend(script: Callable[[FakeTurn], Awaitable[None]] = say_nothing) -> AsyncIterator[FakeBackend]:
    backend = FakeBackend(script)
    server = TestServer(backend.app())
    await server.start_server(shutdown_timeout=0.1)
    backend.url = str(server.make_url("")).rstrip("/")
    try:
        yield backend
    finally:
        backend.closing.set()
        await backend.drop_connections()
        for task in list(backend.tasks):
            task.cancel()
        await asyncio.gather(*backend.tasks, return_exceptions=True)
        await server.close()
