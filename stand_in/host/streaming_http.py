"""HTTP functions in FastAPI mode: the function gets FastAPI's Request, and FastAPI sends what it returns.

The real host proxies each request to a web server inside the worker, pairing it with the invocation by the header
`x-ms-invocation-id`. Here the extension's own web app (FastAPI with one catch-all route) is called in the process, with
the head of the request rewritten as that proxy writes it: `host` is the worker's address, the public one is in
`x-forwarded-host`, forwarding headers of the client are overwritten.

Two more habits of the proxy are kept, since apps can see them: the head of an answer leaves with its first byte (so an
error before the first piece is an empty 500), and out bindings are flushed after the last byte.
"""

import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stand_in.host.asgi import Message, RawHeaders, Receive, Scope, Send, header, respond
from stand_in.host.binding_values import BindingValues
from stand_in.host.errors import HostError, InvocationFailed, InvocationTimedOut
from stand_in.host.expressions import CallData
from stand_in.host.function import Function
from stand_in.host.http_call import http_call_data
from stand_in.host.invocation import Context, Invocations, Outcome, failure_text, new_context, new_traceparent
from stand_in.host.request_path import proxied_path, proxied_query

logger = logging.getLogger(__name__)

# Set anew by the proxy, or of one hop only.
_DROPPED = frozenset(
    {
        b"host",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-forwarded-prefix",
        b"x-ms-invocation-id",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"http2-settings",
    }
)
_CONTENT_HEADERS = frozenset(
    {
        b"allow",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-location",
        b"content-md5",
        b"content-range",
        b"content-type",
        b"expires",
        b"last-modified",
    }
)
_HOP_HEADERS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"trailer", b"upgrade"})


@dataclass(slots=True)
class _Call:
    """One request on its way through FastAPI. `outcome` is there once the function has returned."""

    function: Function
    route_values: Mapping[str, str]
    context: Context
    data: CallData
    answer: "_SendAtFirstByte"
    outcome: Outcome | None = None


class StreamingHttp:
    """Serves the HTTP functions of an app that imported the FastAPI extension."""

    def __init__(self, invocations: Invocations, values: BindingValues, worker_port: int) -> None:
        from azurefunctions.extensions.base import ModuleTrackerMeta, RequestTrackerMeta

        self._invocations = invocations
        self._values = values
        self._worker_port = worker_port
        self._calls: dict[str, _Call] = {}
        self._synchronizer = RequestTrackerMeta.get_synchronizer()
        request_type = RequestTrackerMeta.get_request_type()
        web_app = importlib.import_module(ModuleTrackerMeta.get_module()).WebApp()

        async def catch_all(request: Any) -> Any:
            return await self._invoke(request)

        catch_all.__annotations__ = {"request": request_type}  # what FastAPI reads to hand over the request itself
        web_app.route(catch_all)
        self._app = web_app.get_app()

    async def serve(
        self, function: Function, values: Mapping[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one request with one function."""
        context = new_context(function, header(scope, b"traceparent"), header(scope, b"tracestate"))
        data = http_call_data(function.name, values, scope)
        answer = _SendAtFirstByte(send)
        call = _Call(function, values, context, data, answer)
        self._calls[context.invocation_id] = call
        try:
            await self._app(self._proxied(scope, context), receive, answer)
        except Exception as error:  # noqa: BLE001 - whatever breaks an answer off is told to the client and the log
            # A failed function was logged where it ran, and FastAPI answered for it before it raised again.
            if not answer.is_complete:
                await self._give_up(call, error, send)
        finally:
            self._calls.pop(context.invocation_id, None)
        await self._flush(call)

    async def _give_up(self, call: _Call, error: Exception, send: Send) -> None:
        """An answer broke off: an empty 500 when nothing was sent, else the connection is cut."""
        function, invocation_id = call.function.name, call.context.invocation_id
        logger.error("The answer of %s (invocation %s) broke off: %s", function, invocation_id, failure_text(error))
        if call.answer.is_started:
            raise error  # makes the server close the connection, so that the client knows
        await respond(send, 500)

    async def _invoke(self, request: Any) -> Any:
        """FastAPI's endpoint: run the function and return what FastAPI is to send."""
        call = self._calls[request.headers["x-ms-invocation-id"]]
        self._synchronizer.sync_route_params(request, dict(call.route_values))
        try:
            arguments = await self._values.read_inputs(call.function, call.data)
        except HostError as error:
            logger.error("Function %s (invocation %s): %s", call.function.name, call.context.invocation_id, error)
            raise
        arguments[call.function.trigger.name] = request
        try:
            call.outcome = await self._invocations.run(call.function, arguments, call.context)
        except InvocationTimedOut:
            call.answer.make_empty_500()
            raise
        except InvocationFailed as failed:
            # FastAPI knows what to do with its own HTTPException, so it gets the function's exception itself.
            raise (failed.__cause__ or failed) from None
        if call.outcome.value is None:
            logger.error("Function %s returned None, which is no HTTP response", call.function.name)
            raise InvocationFailed(f"No http response found for invocation {call.context.invocation_id}")
        return call.outcome.value

    async def _flush(self, call: _Call) -> None:
        if call.outcome is None or not call.outcome.outputs:
            return
        try:
            await self._values.write_outputs(call.function, call.outcome.outputs, call.data)
        except HostError as error:
            logger.error(
                "Function %s (invocation %s) was answered, but an output was not delivered: %s",
                call.function.name,
                call.context.invocation_id,
                error,
            )

    def _proxied(self, scope: Scope, context: Context) -> Scope:
        """The request's head as the worker's server would receive it."""
        public_host, client = b"", scope.get("client")
        own: dict[bytes, bytes] = {}
        content: RawHeaders = []
        framing: RawHeaders = []
        for name, value in scope["headers"]:
            if name == b"host":
                public_host = value
            elif name == b"transfer-encoding":
                framing.append((name, value))
            elif name in _CONTENT_HEADERS:
                content.append((name, value))
            elif name not in _DROPPED:
                value = value.strip(b" \t")
                own[name] = own[name] + (b"; " if name == b"cookie" else b", ") + value if name in own else value
        headers = [
            (b"host", f"127.0.0.1:{self._worker_port}".encode()),
            *own.items(),
            (b"x-ms-invocation-id", context.invocation_id.encode()),
            (b"x-forwarded-for", (client[0] if client else "127.0.0.1").encode()),
            (b"x-forwarded-host", public_host),
            (b"x-forwarded-proto", str(scope["scheme"]).encode()),
            *framing,
            *([] if b"traceparent" in own else [(b"traceparent", new_traceparent().encode())]),
            *content,
        ]
        return {
            **scope,
            "headers": headers,
            "http_version": "1.1",
            "raw_path": proxied_path(scope["path"]),
            "query_string": proxied_query(scope["query_string"]),
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", self._worker_port),
        }


class _SendAtFirstByte:
    """Holds the head of an answer back until its first byte, or its end, is there.

    What the proxy does not let through is sorted out there: headers of one hop are dropped, and a value outside ASCII
    makes the answer an empty 500.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: Message | None = None
        self._is_refused = False
        self._is_500 = False
        self.is_started = False
        self.is_complete = False

    def make_empty_500(self) -> None:
        """Whatever is sent from now on, the client gets an empty 500."""
        self._is_500 = True

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        if self._is_refused:
            return
        if self._head is not None:
            if not message.get("body") and message.get("more_body"):
                return
            head, self._head = self._head, None
            self.is_started = True
            headers: RawHeaders = [pair for pair in head["headers"] if pair[0].lower() not in _HOP_HEADERS]
            if self._is_500 or not all(value.isascii() for _, value in headers):
                self._is_refused = self.is_complete = True
                await respond(self._send, 500)
                return
            has_length = any(name.lower() == b"content-length" for name, _ in headers)
            if not message.get("body") and not has_length and head["status"] not in (204, 304):
                headers.append((b"content-length", b"0"))
            await self._send({**head, "headers": headers})
        await self._send(message)
        self.is_complete = not message.get("more_body", False)
