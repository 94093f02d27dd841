"""HTTP functions in classic mode: `func.HttpRequest` in, `func.HttpResponse` out.

The body is read whole before the call; a chunked upload arrives empty. Repeated query parameters are joined with a
comma and those without a value are dropped; an answer's body is chunked unless the function set its own Content-Length.
Any failure, also of an out binding or of a value that cannot be encoded, is an empty 500. A client that leaves changes
nothing: the function finishes.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote

from stand_in.host import conversion
from stand_in.host.asgi import RawHeaders, Receive, Scope, Send, header, read_body, respond
from stand_in.host.binding_values import BindingValues
from stand_in.host.errors import HostError, InvocationFailed
from stand_in.host.function import Function
from stand_in.host.http_call import http_call_data
from stand_in.host.invocation import Invocations, new_context
from stand_in.host.request_path import classic_path

logger = logging.getLogger(__name__)


class ClassicHttp:
    """Serves the HTTP functions of an app without the FastAPI extension."""

    def __init__(self, invocations: Invocations, values: BindingValues) -> None:
        self._invocations = invocations
        self._values = values

    async def serve(
        self, function: Function, values: Mapping[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one request with one function."""
        # The real host hands a chunked upload over as an empty body.
        body = await read_body(receive) if header(scope, b"content-length") is not None else b""
        context = new_context(function, header(scope, b"traceparent"), header(scope, b"tracestate"))
        data = http_call_data(function.name, values, scope, body)
        try:
            arguments = await self._values.read_inputs(function, data)
            trigger = function.trigger
            arguments[trigger.name] = conversion.decode(
                function.signature.inputs[trigger.name], _request_datum(scope, values, body)
            )
            outcome = await self._invocations.run(function, arguments, context)
            status, headers, content = _response(conversion.encode("http", outcome.value))
            await self._values.write_outputs(function, outcome.outputs, data)
        except InvocationFailed:
            await respond(send, 500)
        except (HostError, TypeError, ValueError) as error:
            logger.error("Function %s (invocation %s): %s", function.name, context.invocation_id, error)
            await respond(send, 500)
        else:
            await _send_answer(send, status, headers, content)


async def _send_answer(send: Send, status: int, headers: RawHeaders, content: bytes) -> None:
    if not 100 <= status <= 999:
        logger.error("status %s cannot be sent by the stand-in (Kestrel would)", status)
        await respond(send, 500)
        return
    if not content or status in (204, 304):
        await respond(send, status, b"", headers)
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _request_datum(scope: Scope, values: Mapping[str, str], body: bytes) -> Any:
    """The request as the worker receives it."""
    text = conversion.datum
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, decoded = name.decode("latin-1"), value.decode("utf-8").strip(" \t")
        headers[key] = f"{headers[key]},{decoded}" if key in headers else decoded
    query: dict[str, str] = {}
    names: dict[str, str] = {}
    for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        key = names.setdefault(name.lower(), name)
        query[key] = f"{query[key]},{value}" if key in query else value
    return conversion.datum(
        {
            "method": text(scope["method"], "string"),
            "url": text(_url(scope), "string"),
            "headers": {name: text(value, "string") for name, value in headers.items()},
            "query": {name: text(value, "string") for name, value in query.items() if value},
            "params": {name: text(value, "string") for name, value in values.items()},
            "body": text(body, "bytes"),
        },
        "http",
    )


def _url(scope: Scope) -> str:
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    query = scope["query_string"].decode("latin-1")
    return f"{scope['scheme']}://{host}{classic_path(scope['path'])}" + (f"?{query}" if query else "")


def _response(data: Any) -> tuple[int, RawHeaders, bytes]:
    """Status, headers and body of a function's typed answer. Raises ValueError for a header that cannot be sent."""
    if data.type == "string":
        return _from_text(data.value)
    answer = data.value
    headers: RawHeaders = []
    for name, value in answer["headers"].items():
        headers.append(_header(name, value.value))
    for cookie_jar in answer["cookies"] or []:
        for morsel in cookie_jar.values():
            headers.append(_header("set-cookie", _cookie(morsel)))
    return int(answer["status_code"].value), headers, answer["body"].value


def _from_text(text: str) -> tuple[int, RawHeaders, bytes]:
    """A returned `str`: the host reads it as JSON when it can, and an object with a `body` as a whole answer."""
    plain: RawHeaders = [(b"content-type", b"text/plain; charset=utf-8")]
    try:
        value = json.loads(text)
    except ValueError:
        return 200, plain, text.encode("utf-8")
    if isinstance(value, dict) and "body" in value:
        headers = [_header(name, str(item)) for name, item in (value.get("headers") or {}).items()]
        body = value["body"]
        content = body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)
        status = int(value.get("statusCode") or value.get("status") or 200)
        if not any(name.lower() == b"content-type" for name, _ in headers):
            headers.extend(plain)
        return status, headers, content.encode("utf-8")
    return 200, plain, _json_scalar(value).encode("utf-8")


def _json_scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "True" if value else "False"
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, dict | list):
        return json.dumps(value, indent=2, ensure_ascii=False)
    return str(value)


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    if any(ord(character) < 32 or ord(character) > 126 for character in value):
        raise ValueError(f"Invalid non-ASCII or control character in header {name}")
    return name.lower().encode("latin-1"), value.encode("latin-1")


def _cookie(morsel: Any) -> str:
    """A cookie as the host writes it again: the value escaped once more, attributes in its order."""
    text = f"{morsel.key}={quote(morsel.value, safe='')}"
    if morsel["max-age"]:
        text += f"; max-age={morsel['max-age']}"
    text += f"; domain={morsel['domain']}; path={morsel['path']}"
    if morsel["secure"]:
        text += "; secure"
    if morsel["samesite"]:
        text += f"; samesite={morsel['samesite'].lower()}"
    if morsel["httponly"]:
        text += "; httponly"
    return text
