"""The logging proxy: calls of any OpenAI client, passed through to the model service, each leaving one log record.

The caller changes its base URL and its key, nothing else. Bytes, statuses, headers and errors are the service's; the
key is ours (`PROXY_KEYS`), and what we refuse ourselves we refuse in Azure's own shape. A call is made upstream only
when it could be logged: its acceptance is stored while the service thinks, before a byte is passed on.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from azurefunctions.extensions.http.fastapi import Request, Response, StreamingResponse

from adapters import clients
from adapters.model_passthrough import UpstreamAnswer, UpstreamUnreachable
from chat.call_logging import CallJournal
from chat.completion_tap import CompletionTap
from chat.errors import MissingSetting, StorageUnavailable
from chat.passing_call import CLIENT_GONE, PassingCall
from chat.proxied_call import Answered, Ending, ProxiedCall, ending_of, prompt_messages
from chat.proxy_keys import ProxyKey
from chat.request_edit import PassedOn, asking_for_usage
from http_triggers.azure_errors import AzureError, answers_azure_errors

# Letters, digits, and these: what Azure takes as a name. No slash, no escape and no `..` reaches the service's path.
_DEPLOYMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,63}\Z")
_DATED_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?\Z")
STREAM_OPTIONS_SINCE = "2024-09-01"  # dated api-versions before it answer 400 to stream_options
CHECK_GONE_EVERY = 0.1  # s; a request whose answer has not begun does not learn by itself that its caller left

Result = TypeVar("Result")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of call: its path behind the deployment or `v1`, and the type of its records."""

    path: str
    record_type: str
    streams: bool


CHAT = Operation("/chat/completions", "completion", streams=True)
RESPONSES = Operation("/responses", "response", streams=True)
EMBEDDINGS = Operation("/embeddings", "embedding", streams=False)


@answers_azure_errors
async def by_deployment(req: Request, operation: Operation) -> Response:
    """POST openai/deployments/{deployment}/...?api-version=: Azure's paths."""
    key = await _caller(req)
    deployment = str(req.path_params["deployment"])
    if not _DEPLOYMENT.match(deployment):
        raise AzureError(404, "DeploymentNotFound", "The API deployment for this resource does not exist.")
    version = req.query_params.get("api-version")
    if not version:
        raise AzureError(404, "404", "Resource not found: the query must name an api-version.")
    body = await _body(req)
    value = _json_object(body)
    return await _pass(req, key, operation, f"/deployments/{deployment}{operation.path}", body, value, deployment)


@answers_azure_errors
async def by_model(req: Request, operation: Operation) -> Response:
    """POST openai/v1/...: the deployment is the body's `model`."""
    key = await _caller(req)
    body = await _body(req)
    value = _json_object(body)
    model = value.get("model")
    deployment = model if isinstance(model, str) else "unknown"
    return await _pass(req, key, operation, f"/v1{operation.path}", body, value, deployment)


@answers_azure_errors
async def unknown_path(req: Request) -> Response:
    """Any other path below `openai/`, or another method."""
    await _caller(req)
    raise AzureError(404, "404", "Resource not found: the proxy passes on chat completions, responses and embeddings.")


async def _pass(
    req: Request, key: ProxyKey, operation: Operation, path: str, body: bytes, value: dict[str, Any], deployment: str
) -> Response:
    service = clients.model_passthrough()
    streamed = operation.streams and value.get("stream") is True
    sent = asking_for_usage(body, value) if _may_ask_for_usage(req, operation) else PassedOn(body)
    now = clients.clock.now()
    call = ProxiedCall(
        call_id=f"call-{now:012x}-{clients.new_id()[:20]}",  # sorted by time, as ids of blobs are listed
        caller=key.name,
        policy=key.policy,
        kind=f"stream_{operation.record_type}" if streamed else operation.record_type,
        deployment=deployment,
        api_version=req.query_params.get("api-version"),
        prompt=prompt_messages(value),
        at=now,
    )
    journal = CallJournal(clients.call_store(), call.call_id)
    tap = CompletionTap(clients.clock, hide_usage=sent.usage_added)
    passing = PassingCall(call, tap, journal, clients.call_log(), clients.clock)
    query = [(name, text) for name, text in req.query_params.multi_items() if name != "code"]
    asking = service.post(path, query, req.headers.items(), sent.body)
    answer = await _accepted(req, passing, asking)
    return await _answered(req, passing, answer)


async def _accepted(req: Request, passing: PassingCall, asking: Coroutine[Any, Any, UpstreamAnswer]) -> UpstreamAnswer:
    """Ask the service, and store meanwhile that the call was accepted. Both are there when this returns."""
    upstream = asyncio.create_task(asking)
    try:
        await passing.accept()
    except StorageUnavailable:
        await _dropped(upstream)
        message = "The proxy could not write down this call, and did not make it. Try again."
        raise AzureError(503, "ServiceUnavailable", message, headers={"Retry-After": "2"}) from None
    try:
        answer = await _unless_gone(req, upstream)
    except UpstreamUnreachable as error:
        status, code = (504, "Timeout") if error.timed_out else (502, "BadGateway")
        message = f"The model service did not answer ({error})."
        passing.end(Ending("failed", {"code": code, "message": message}))
        raise AzureError(status, code, message) from error
    except asyncio.CancelledError:
        passing.end(CLIENT_GONE)
        raise
    if answer is None:
        await _dropped(upstream)
        passing.end(CLIENT_GONE)
        raise AzureError(499, "ClientClosedRequest", "The caller left.")
    passing.answered = Answered(
        answer.status, answer.header("x-ms-region"), answer.header("apim-request-id", "x-request-id")
    )
    return answer


async def _answered(req: Request, passing: PassingCall, answer: UpstreamAnswer) -> Response:
    """The answer as the caller gets it."""
    if answer.is_stream:
        passing.on_standstill(answer.close)
        return StreamingResponse(
            _passed_on(passing, answer), status_code=answer.status, headers=answer.headers, media_type=None
        )
    reading = asyncio.create_task(answer.body())
    try:
        body = await _unless_gone(req, reading)
    except UpstreamUnreachable as error:
        message = f"The model service broke off its answer ({error})."
        passing.end(Ending("failed", {"code": "BadGateway", "message": message}))
        raise AzureError(502, "BadGateway", message) from error
    finally:
        if not reading.done() or reading.cancelled():
            passing.end(CLIENT_GONE)
        answer.close()
    if body is None:
        raise AzureError(499, "ClientClosedRequest", "The caller left.")
    passing.tap.answer(body)
    assert passing.answered is not None
    passing.end(ending_of(passing.answered, passing.tap.learned, streamed=False))
    return Response(body, status_code=answer.status, headers=answer.headers)


async def _passed_on(passing: PassingCall, answer: UpstreamAnswer) -> AsyncIterator[bytes]:
    """The stream, piece by piece as it comes: the next one is asked for when the caller has taken the last."""
    tap, answered = passing.tap, passing.answered
    assert answered is not None
    try:
        async for piece in answer.pieces():
            if visible := tap.feed(piece):
                yield visible
                passing.moved()
        if rest := tap.finish():
            yield rest
        passing.end(ending_of(answered, tap.learned, streamed=True))
    except UpstreamUnreachable as error:
        # No [DONE] behind it: a cut answer must not look like a whole one.
        message = f"The model service broke off its answer ({error})."
        passing.end(Ending("failed", {"code": "stream_cut", "message": message}))
        yield b"data: " + json.dumps({"error": {"code": "stream_cut", "message": message}}).encode() + b"\n\n"
    finally:
        # Whatever else ends a generator is the caller who left; nothing here may wait, it would be cancelled, too.
        passing.end(CLIENT_GONE)
        answer.close()


async def _unless_gone(req: Request, task: asyncio.Task[Result]) -> Result | None:
    """The task's result; None, the task cancelled, when the caller left before it was there."""
    while True:
        done, _ = await asyncio.wait({task}, timeout=CHECK_GONE_EVERY)
        if done:
            return task.result()
        if await req.is_disconnected():
            task.cancel()
            return None


async def _dropped(upstream: asyncio.Task[UpstreamAnswer]) -> None:
    """Give up a request that is on its way, and close the answer that it may have brought all the same."""
    upstream.cancel()
    (answer,) = await asyncio.gather(upstream, return_exceptions=True)
    if isinstance(answer, UpstreamAnswer):
        answer.close()


async def _caller(req: Request) -> ProxyKey:
    """The key that was sent, wherever SDKs and people put one. Raises AzureError 401."""
    bearer = re.match(r"(?i)bearer +(\S+)\Z", req.headers.get("authorization", ""))
    sent = (
        req.headers.get("api-key"),
        bearer and bearer[1],
        req.headers.get("x-functions-key"),
        req.query_params.get("code"),
    )
    try:
        found = clients.proxy_keys().find(next((key for key in sent if key), None))
    except MissingSetting as error:
        logger.error("%s", error)
        found = None
    if found is None:
        message = (
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key."
        )
        raise AzureError(401, "401", message)
    return found


async def _body(req: Request) -> bytes:
    """The body of a JSON request within bounds."""
    content_type = req.headers.get("content-type", "").split(";")[0].strip().lower()
    largest = clients.settings().proxy_max_body_bytes
    body = bytearray()
    async for piece in req.stream():
        # Read to the end all the same: an answer to a half-read request is lost on its way through the host.
        if len(body) <= largest:
            body += piece
    if content_type != "application/json":
        raise AzureError(415, "UnsupportedMediaType", "Send JSON, with Content-Type: application/json.")
    if len(body) > largest:
        raise AzureError(413, "RequestEntityTooLarge", f"The body is too large; {largest} bytes are allowed.")
    return bytes(body)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        message = "We could not parse the JSON body of your request: it must be a JSON object in UTF-8."
        raise AzureError(400, None, message, kind="invalid_request_error")
    return value


def _may_ask_for_usage(req: Request, operation: Operation) -> bool:
    """Whether the service knows `stream_options` here: `v1` and plain services do, old dated versions do not."""
    version = req.query_params.get("api-version", "")
    return operation is CHAT and (not _DATED_VERSION.match(version) or version >= STREAM_OPTIONS_SINCE)
