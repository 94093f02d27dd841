"""The logging proxy: calls of any OpenAI client, passed through to the model service, each leaving one log record.

The caller changes its base URL and its key, nothing else. Bytes, statuses, headers and errors are the service's; the
key is ours (`PROXY_KEYS`), and what we refuse ourselves we refuse in Azure's own shape. An answer is passed on
only when it can be logged: the call's acceptance is stored while the service thinks, before the first byte.
"""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from azurefunctions.extensions.http.fastapi import Request, Response

from adapters import clients
from adapters.model_passthrough import UpstreamAnswer, UpstreamUnreachable
from chat.call_logging import CallJournal
from chat.completion_tap import CompletionTap
from chat.errors import StorageUnavailable
from chat.passing_call import CLIENT_GONE, NOT_STORED, PassingCall
from chat.proxied_call import Answered, Ending, ProxiedCall, ending_of, prompt_messages
from chat.proxy_keys import ProxyKey
from chat.request_edit import PassedOn, asking_for_usage, naming_model
from http_triggers.azure_errors import AzureError, answers_azure_errors, error_event
from http_triggers.passed_on import PassedOnStream, passed_on_answer
from http_triggers.proxy_request import identified, json_object, request_body

# Letters, digits, and these: what Azure takes as a name. No slash, no escape and no `..` reaches the service's path.
_DEPLOYMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,63}\Z")
_DATED_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?\Z")
STREAM_OPTIONS_SINCE = "2024-09-01"  # dated api-versions before it answer 400 to stream_options
CHECK_GONE_EVERY = 0.1  # s; a request whose answer has not begun does not learn by itself that its caller left
LONGEST_NAME = 256  # characters of a caller's words for a model that a record holds

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


@dataclass(frozen=True, slots=True)
class _Asked:
    """A checked request: what is to be passed on, and where."""

    key: ProxyKey
    operation: Operation
    path: str
    query: list[tuple[str, str]]
    body: bytes
    value: dict[str, Any]
    deployment: str
    api_version: str | None


@answers_azure_errors
async def by_deployment(req: Request, operation: Operation) -> Response:
    """POST openai/deployments/{deployment}/...?api-version=: Azure's paths. The body's `model` does not count."""
    key = identified(req)
    deployment = str(req.path_params["deployment"])
    if not _DEPLOYMENT.match(deployment):
        raise AzureError(404, "DeploymentNotFound", "The API deployment for this resource does not exist.")
    version = _dated_version(req)
    body = await request_body(req)
    value, query, path = json_object(body), _query(req), f"/deployments/{deployment}{operation.path}"
    if not clients.model_passthrough().is_azure:
        # Other services have no such paths and no such versions; there the body names the model.
        body, path, query = naming_model(body, deployment), operation.path, _without(query, "api-version")
    return await _pass(req, _Asked(key, operation, path, query, body, value, deployment, version))


@answers_azure_errors
async def by_version(req: Request, operation: Operation) -> Response:
    """POST openai/...?api-version=: Azure's dated path of an operation that has no deployment in its path."""
    key = identified(req)
    version = _dated_version(req)
    query = _query(req)
    if not clients.model_passthrough().is_azure:
        query = _without(query, "api-version")
    return await _pass_by_model(req, key, operation, operation.path, query, version)


@answers_azure_errors
async def by_model(req: Request, operation: Operation) -> Response:
    """POST openai/v1/...: the deployment is the body's `model`."""
    key = identified(req)
    version = req.query_params.get("api-version")
    return await _pass_by_model(req, key, operation, f"/v1{operation.path}", _query(req), version)


@answers_azure_errors
async def unknown_path(req: Request) -> Response:
    """Any other path below `openai/`, or another method."""
    identified(req)
    raise AzureError(404, "404", "Resource not found: the proxy passes on chat completions, responses and embeddings.")


async def _pass_by_model(
    req: Request, key: ProxyKey, operation: Operation, path: str, query: list[tuple[str, str]], version: str | None
) -> Response:
    body = await request_body(req)
    value = json_object(body)
    model = value.get("model")
    deployment = model if isinstance(model, str) else "unknown"
    return await _pass(req, _Asked(key, operation, path, query, body, value, deployment, version))


async def _pass(req: Request, asked: _Asked) -> Response:
    service, operation = clients.model_passthrough(), asked.operation
    streamed = operation.streams and asked.value.get("stream") is True
    sent = asking_for_usage(asked.body, asked.value) if _may_ask_for_usage(asked) else PassedOn(asked.body)
    now = clients.clock.now()
    call = ProxiedCall(
        call_id=f"call-{now:012x}-{clients.new_id()[:20]}",  # sorted by time, as ids of blobs are listed
        caller=asked.key.name,
        policy=asked.key.policy,
        kind=f"stream_{operation.record_type}" if streamed else operation.record_type,
        deployment=asked.deployment[:LONGEST_NAME],
        api_version=asked.api_version and asked.api_version[:LONGEST_NAME],
        prompt=prompt_messages(asked.value),
        at=now,
    )
    tap = CompletionTap(clients.clock, hide_usage=sent.usage_added)
    passing = PassingCall(call, tap, CallJournal(clients.call_store(), call.call_id), clients.call_log(), clients.clock)
    asking = service.post(asked.path, asked.query, req.headers.items(), sent.body)
    answer = await _accepted(req, passing, asking)
    return await _answered(req, passing, answer)


async def _accepted(req: Request, passing: PassingCall, asking: Coroutine[Any, Any, UpstreamAnswer]) -> UpstreamAnswer:
    """Ask the service, and store meanwhile that the call was accepted. Both are there when this returns; when it does
    not, nothing of the request upstream is left open."""
    upstream = asyncio.create_task(asking)
    try:
        await passing.accept()
        answer = await _unless_gone(req, upstream)
    except (StorageUnavailable, UpstreamUnreachable) as error:
        _give_up(upstream)
        raise _refusal(passing, error) from error
    except BaseException:
        _give_up(upstream)
        passing.end(CLIENT_GONE)
        raise
    if answer is None:
        _give_up(upstream)
        passing.end(CLIENT_GONE)
        raise AzureError(499, "ClientClosedRequest", "The caller left.")
    passing.answered = Answered(
        answer.status, answer.header("x-ms-region"), answer.header("apim-request-id", "x-request-id")
    )
    return answer


def _refusal(passing: PassingCall, error: StorageUnavailable | UpstreamUnreachable) -> AzureError:
    """End a call whose answer has not begun; what its caller is told."""
    logger.warning("A call failed before its answer began: %s", error, extra={"call_id": passing.call.call_id})
    if isinstance(error, StorageUnavailable):
        passing.end(NOT_STORED)
        message = "The proxy could not write down this call, and broke it off. Try again."
        return AzureError(503, "ServiceUnavailable", message, headers={"Retry-After": "2"})
    status, code = (504, "Timeout") if error.timed_out else (502, "BadGateway")
    message = f"The model service did not answer ({error})."
    passing.end(Ending("failed", {"code": code, "message": message}))
    return AzureError(status, code, message)


async def _answered(req: Request, passing: PassingCall, answer: UpstreamAnswer) -> Response:
    """The answer as the caller gets it."""
    if answer.is_stream:

        def left() -> None:
            passing.end(CLIENT_GONE)  # unless it has ended otherwise
            answer.close()

        passing.on_standstill(answer.close)
        passing.offer()
        return PassedOnStream(_passed_on(passing, answer), left, answer.status, answer.headers)
    try:
        body = await _unless_gone(req, asyncio.create_task(answer.body()))
    except UpstreamUnreachable as error:
        message = f"The model service broke off its answer ({error})."
        passing.end(Ending("failed", {"code": "BadGateway", "message": message}))
        raise AzureError(502, "BadGateway", message) from error
    except asyncio.CancelledError:
        passing.end(CLIENT_GONE)
        raise
    finally:
        answer.close()
    if body is None:
        passing.end(CLIENT_GONE)
        raise AzureError(499, "ClientClosedRequest", "The caller left.")
    passing.tap.answer(body)
    assert passing.answered is not None
    passing.end(ending_of(passing.answered, passing.tap.learned, streamed=False))
    return passed_on_answer(body, answer.status, answer.headers)


async def _passed_on(passing: PassingCall, answer: UpstreamAnswer) -> AsyncGenerator[bytes]:
    """The stream, piece by piece as it comes: the next one is asked for when the caller has taken the last.

    Whatever else ends it (an error of ours, the caller who left) ends the call in `PassedOnStream`.
    """
    tap, answered = passing.tap, passing.answered
    assert answered is not None
    passing.taken()
    try:
        async for piece in answer.pieces():
            if visible := tap.feed(piece):
                passing.offer()
                yield visible
                passing.taken()
        if rest := tap.finish():
            yield rest
        passing.end(ending_of(answered, tap.learned, streamed=True))
    except UpstreamUnreachable as error:
        message = f"The model service broke off its answer ({error})."
        passing.end(Ending("failed", {"code": "stream_cut", "message": message}))
        if tap.within_event:
            raise  # half an event is with the caller, nothing said now could be read: break off as the service did
        # No [DONE] behind it: a cut answer must not look like a whole one.
        yield error_event("stream_cut", message)


async def _unless_gone(req: Request, task: asyncio.Task[Result]) -> Result | None:
    """The task's result; None, the task cancelled, when the caller left before it was there."""
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=CHECK_GONE_EVERY)
            if done:
                return task.result()
            if await req.is_disconnected():
                return None
    finally:
        task.cancel()


def _give_up(upstream: asyncio.Task[UpstreamAnswer]) -> None:
    """Give up a request that is on its way, and close the answer that it may have brought all the same."""
    upstream.cancel()
    upstream.add_done_callback(_close_answer)


def _close_answer(upstream: asyncio.Task[UpstreamAnswer]) -> None:
    if not upstream.cancelled() and upstream.exception() is None:
        upstream.result().close()


def _dated_version(req: Request) -> str:
    version = req.query_params.get("api-version")
    if not version:
        raise AzureError(404, "404", "Resource not found: the query must name an api-version.")
    return str(version)


def _query(req: Request) -> list[tuple[str, str]]:
    """The query without the caller's key."""
    return _without(list(req.query_params.multi_items()), "code")


def _without(query: list[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    return [(key, text) for key, text in query if key.lower() != name]


def _may_ask_for_usage(asked: _Asked) -> bool:
    """Whether the service knows `stream_options` here: `v1` and plain services do, old dated versions do not, and
    neither do answers from one's own data, in any version."""
    version = asked.api_version or ""
    if asked.operation is not CHAT or "data_sources" in asked.value:
        return False
    return not _DATED_VERSION.match(version) or version >= STREAM_OPTIONS_SINCE
