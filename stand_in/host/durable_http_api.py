"""The durable HTTP API: what operators and the SDK's client ask of the engine.

One handler serves two addresses: the management API under `/runtime/webhooks/durabletask/` and the SDK's RPC endpoint
under `/durabletask/`. They differ in their links alone. Keys are the business of whoever mounts the routes.

    orchestrators/{name}/{id?}                  POST
    instances/{id?}                             GET, DELETE
    instances/{id}/{verb}                       POST   terminate suspend resume rewind restart
    instances/{id}/raiseEvent/{event}           POST
    entities/{name?}/{key?}                     GET, POST, DELETE

Statuses and bodies are those of the Durable extension 3.19.0; texts of .NET's own errors are not copied.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote_plus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stand_in.durable import status_view
from stand_in.durable.client_binding import ClientLinks
from stand_in.durable.engine import DurableEngine
from stand_in.durable.entity import EntityRecord
from stand_in.durable.errors import (
    EngineStopped,
    FunctionUnknown,
    HistoryUnreadable,
    InstanceExists,
    InstanceFinished,
    InstanceNotFound,
    TaskHubFailed,
    WrongStatus,
)
from stand_in.durable.instance import InstanceRecord, Status
from stand_in.durable.json_text import compact, parse, quoted, reserialized, value_or_text
from stand_in.durable.names import is_entity_id
from stand_in.durable.task_hub import EntityFilter, InstanceFilter
from stand_in.durable.timestamps import ticks

logger = logging.getLogger(__name__)

RPC_PATH = "/durabletask"
WEBHOOKS_PATH = "/runtime/webhooks/durabletask"
TOKEN_HEADER = "x-ms-continuation-token"
_METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
_PAGE = 100
_STATUSES = frozenset(status.value for status in Status)
# Connections that mean the app's own storage.
_OWN_CONNECTIONS = frozenset({"", "storage", "azurewebjobsstorage"})
_WENT_WRONG = "Something went wrong while processing your request"


def durable_routes(engine: DurableEngine, links: ClientLinks, path: str = WEBHOOKS_PATH) -> list[Route]:
    """The routes under `path`: the management API's by default, the SDK's endpoint with RPC_PATH."""
    api = DurableHttpApi(engine, links, path)
    return [
        Route(path, api.handle, methods=_METHODS),
        Route(f"{path}/{{rest:path}}", api.handle, methods=_METHODS),
    ]


class Refusal(Exception):
    """The request gets this answer instead of what it wanted."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


class DurableHttpApi:
    """Translates between HTTP and the engine."""

    def __init__(self, engine: DurableEngine, links: ClientLinks, path: str) -> None:
        self._engine = engine
        self._links = links
        self._path = path

    async def handle(self, request: Request) -> Response:
        """Answer any request under the path."""
        segments = self._segments(request)
        try:
            own_hub = self._is_own_hub(request)
            match (request.method, *segments):
                case (_, "makeprimary"):
                    return Response(status_code=200)
                case ("POST", "orchestrators", name, *rest) if name and len(rest) <= 1:
                    if not own_hub:
                        return _error(400, "Only the task hub of the running app can be used.", "OtherTaskHub")
                    return await self._start(request, name, rest[0] if rest else "")
                case (method, "instances", *rest):
                    return await self._instances(request, method, rest) if own_hub else _not_found()
                case (method, "entities", *rest):
                    return await self._entities(request, method, rest) if own_hub else _not_found()
                case _:
                    return _not_found()
        except Refusal as refusal:
            return refusal.response
        except (EngineStopped, TaskHubFailed) as error:
            return _error(503, str(error), type(error).__name__)

    def _segments(self, request: Request) -> list[str]:
        """The path below the base, decoded a second time as forms are: `+` and `%2520` are spaces here."""
        below = unquote_plus(request.scope["path"][len(self._path) :]).strip("/")
        first, *rest = below.split("/")
        return [first.lower(), *rest]

    def _is_own_hub(self, request: Request) -> bool:
        connection = _parameter(request, "connection") or ""
        if connection.lower() not in _OWN_CONNECTIONS | {self._links.connection.lower()}:
            message = f"Unable to resolve the Azure Storage connection named '{connection}'."
            raise Refusal(_error(500, _WENT_WRONG, "System.InvalidOperationException", message))
        hub = _parameter(request, "taskHub") or self._links.task_hub
        return hub.lower() == self._links.task_hub.lower()

    # -- starting

    async def _start(self, request: Request, name: str, instance_id: str) -> Response:
        timeout, interval = _seconds(request, "timeout"), _seconds(request, "pollingInterval")
        if timeout is not None and interval is not None and interval > timeout:
            return _message(400, f"Total timeout {timeout:g} should be bigger than retry timeout {interval:g}")
        try:
            started = await self._engine.start_instance(
                name,
                instance_id=instance_id or None,
                input_text=await _start_input(request),
                version=_parameter(request, "version"),
                trace_context=_trace_context(request),
            )
        except InstanceExists as error:
            return _message(409, str(error))
        if timeout is not None and interval is not None:
            return await self._wait(request, started, timeout, interval)
        return self._links_of(request, started)

    async def _wait(self, request: Request, instance_id: str, timeout: float, interval: float) -> Response:
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            record = await self._engine.status(instance_id)
            if isinstance(record, InstanceRecord) and record.status.is_final:
                if record.status is Status.COMPLETED:
                    return _json(200, value_or_text(record.output))
                return _json(200, status_view.instance_status(record))
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return self._links_of(request, instance_id)
            await asyncio.sleep(min(interval, left))

    def _links_of(self, request: Request, instance_id: str) -> Response:
        origin = None if self._path == RPC_PATH else _origin(request)
        links = self._links.management(instance_id, origin, with_rewind=False)
        return _json(202, links, {"Location": links["statusQueryGetUri"], "Retry-After": "10"})

    # -- instances

    async def _instances(self, request: Request, method: str, rest: list[str]) -> Response:
        match (method, *rest):
            case ("GET",):
                return await self._query(request)
            case ("DELETE",):
                return await self._purge_many(request)
            case ("GET", instance_id):
                return await self._status(request, instance_id)
            case ("DELETE", instance_id):
                return await self._purge(instance_id)
            case ("POST", instance_id, verb):
                return await self._act(request, instance_id, verb.lower())
            case ("POST", instance_id, verb, event) if verb.lower() == "raiseevent" and event:
                return await self._raise_event(request, instance_id, event)
        return _not_found()

    async def _query(self, request: Request) -> Response:
        wanted = InstanceFilter(
            _parameter(request, "instanceIdPrefix") or "",
            _time(request, "createdTimeFrom"),
            _time(request, "createdTimeTo"),
            _statuses(request),
        )
        top, start = _top(request), _token(request)
        if start is None:
            return _json(200, [])
        records = await self._engine.query(wanted, top + 1, start)
        show_input = _flag(request, "showInput", default=True)
        shown = [_status_of(record, show_input=show_input) for record in records[:top]]
        return _json(200, shown, _next_page(records, top))

    async def _status(self, request: Request, instance_id: str) -> Response:
        record = await self._engine.status(instance_id)
        if record is None:
            return _not_found()
        show_input = _flag(request, "showInput", default=True)
        if isinstance(record, EntityRecord):
            return _json(202, status_view.entity_status(record, show_input=show_input), self._poll(request))
        history = None
        if _flag(request, "showHistory") and record.status is not Status.PENDING:
            try:
                history = status_view.shown_history(
                    await self._engine.history(instance_id),
                    show_output=_flag(request, "showHistoryOutput"),
                    show_input=show_input,
                )
            except HistoryUnreadable as error:
                message = "One or more of the arguments submitted is incorrect"
                return _error(400, message, "System.ArgumentException", str(error))
        shown = status_view.instance_status(record, show_input=show_input, history=history)
        if not record.status.is_final:
            return _json(202, shown, self._poll(request))
        failed = record.status is Status.FAILED and _flag(request, "returnInternalServerErrorOnFailure")
        return _json(500 if failed else 200, shown)

    def _poll(self, request: Request) -> dict[str, str]:
        query = request.url.query
        return {
            "Location": _origin(request) + request.scope["path"] + (f"?{query}" if query else ""),
            "Retry-After": "5",
        }

    async def _act(self, request: Request, instance_id: str, verb: str) -> Response:
        actions: dict[str, Callable[[str, str | None], Awaitable[None]]] = {
            "terminate": self._engine.terminate,
            "suspend": self._engine.suspend,
            "resume": self._engine.resume,
        }
        if verb == "restart":
            return await self._restart(request, instance_id)
        reason = _parameter(request, "reason")
        if verb == "rewind":
            return await self._rewind(instance_id, reason)
        if verb not in actions:
            return _not_found()
        if is_entity_id(instance_id) and await self._engine.status(instance_id) is not None:
            return _error(501, f"The stand-in does not {verb} entities.", "System.NotSupportedException")
        try:
            await actions[verb](instance_id, reason)
        except InstanceNotFound:
            return _not_found()
        except InstanceFinished:
            return Response(status_code=410)
        except WrongStatus as error:
            if (await self._final(instance_id)) is True:
                return Response(status_code=410)
            return _error(500, _WENT_WRONG, "System.InvalidOperationException", str(error))
        return Response(status_code=202)

    async def _final(self, instance_id: str) -> bool:
        record = await self._engine.status(instance_id)
        return isinstance(record, InstanceRecord) and record.status.is_final

    async def _rewind(self, instance_id: str, reason: str | None) -> Response:
        try:
            await self._engine.rewind(instance_id, reason)
        except InstanceNotFound as error:
            return _json(404, str(error))
        except WrongStatus as error:
            return _json(412, str(error))
        return Response(status_code=202)

    async def _restart(self, request: Request, instance_id: str) -> Response:
        with_new_id = _flag(request, "restartWithNewInstanceId", default=True)
        try:
            started = await self._engine.restart(instance_id, with_new_id=with_new_id)
        except InstanceNotFound as error:
            message = "InstanceId does not match a valid orchestration instance."
            return _error(400, message, "System.ArgumentException", f"{error} (Parameter 'instanceId')")
        except InstanceExists as error:
            message = "A non-terminal instance with this instance ID already exists."
            kind = "DurableTask.Core.Exceptions.OrchestrationAlreadyExistsException"
            return _error(409, message, kind, str(error))
        return self._links_of(request, started)

    async def _raise_event(self, request: Request, instance_id: str, event: str) -> Response:
        record = await self._engine.status(instance_id)
        if not isinstance(record, InstanceRecord):
            return _not_found()
        if record.status.is_final:
            return Response(status_code=410)
        if not request.headers.get("content-type", "").lower().startswith("application/json"):
            return _message(400, "Only application/json request content is supported")
        try:
            data = compact(parse((await request.body()).decode()))
        except ValueError as error:
            return _error(400, "Invalid JSON content", "Newtonsoft.Json.JsonReaderException", str(error))
        try:
            await self._engine.raise_event(instance_id, event, data)
        except (InstanceNotFound, InstanceFinished):
            return Response(status_code=410)
        return Response(status_code=202)

    async def _purge(self, instance_id: str) -> Response:
        try:
            found = await self._engine.purge(instance_id)
        except WrongStatus as error:
            return _json(412, str(error))
        return _json(200, {"instancesDeleted": 1}) if found else _not_found()

    async def _purge_many(self, request: Request) -> Response:
        created_from = _time(request, "createdTimeFrom")
        if created_from is None:
            return _json(400, "Please provide value for 'createdTimeFrom' parameter.")
        wanted = InstanceFilter("", created_from, _time(request, "createdTimeTo"), _statuses(request))
        count = await self._engine.purge_many(wanted)
        return _json(200, {"instancesDeleted": count}) if count else _not_found()

    # -- entities

    async def _entities(self, request: Request, method: str, rest: list[str]) -> Response:
        match (method, *rest):
            case ("GET",) | ("GET", _):
                return await self._list_entities(request, rest[0] if rest else None)
            case ("GET", name, key):
                record = await self._engine.read_entity(name, _key(key))
                return _not_found() if record is None else _json(200, value_or_text(record.state))
            case ("POST", name, key):
                return await self._signal(name, key, _parameter(request, "op") or "", await _signal_input(request))
            case ("DELETE", name, key):
                return await self._signal(name, key, "delete", None)
        return _not_found()

    async def _signal(self, name: str, key: str, operation: str, input_text: str | None) -> Response:
        try:
            await self._engine.signal_entity(name, _key(key), operation, input_text)
        except FunctionUnknown as error:
            return _message(400, str(error))
        return Response(status_code=202)

    async def _list_entities(self, request: Request, name: str | None) -> Response:
        wanted = EntityFilter(
            name or None, _time(request, "lastOperationTimeFrom"), _time(request, "lastOperationTimeTo")
        )
        top, start = _top(request), _token(request)
        if start is None:
            return _json(200, [])
        records = await self._engine.list_entities(wanted, top + 1, start)
        with_state = _flag(request, "fetchState")
        shown = [status_view.listed_entity(record, with_state=with_state) for record in records[:top]]
        return _json(200, shown, _next_page(records, top))


# -- requests


def _parameter(request: Request, name: str) -> str | None:
    """A query parameter, its name in any case; empty means absent."""
    for key, value in request.query_params.multi_items():
        if key.lower() == name.lower() and value:
            return value
    return None


def _flag(request: Request, name: str, *, default: bool = False) -> bool:
    value = (_parameter(request, name) or "").lower()
    return value == "true" if value in ("true", "false") else default


def _seconds(request: Request, name: str) -> float | None:
    try:
        return float(_parameter(request, name) or "")
    except ValueError:
        return None


def _time(request: Request, name: str) -> int | None:
    try:
        return ticks((_parameter(request, name) or "").strip())
    except ValueError:
        return None


def _statuses(request: Request) -> tuple[str, ...]:
    """Known statuses, from comma lists and repeated parameters; unknown ones and other cases are ignored."""
    given = [value for key, value in request.query_params.multi_items() if key.lower() == "runtimestatus"]
    names = {name.strip() for value in given for name in value.split(",")}
    return tuple(sorted(names & _STATUSES))


def _top(request: Request) -> int:
    try:
        top = int(_parameter(request, "top") or "")
    except ValueError:
        return _PAGE
    if top < 0:
        message = "An error occurred while communicating with Azure Storage"
        kind = "DurableTask.AzureStorage.Storage.DurableTaskStorageException"
        raise Refusal(_error(500, _WENT_WRONG, kind, message))
    return top


def _token(request: Request) -> str | None:
    """The id at which the page begins; None for a token that means nothing."""
    try:
        return base64.b64decode(request.headers.get(TOKEN_HEADER, ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


async def _start_input(request: Request) -> str | None:
    body = (await request.body()).decode(errors="replace")
    if not body and request.headers.get("content-length") == "0":
        return None
    if not body.strip():
        return ""
    try:
        parse(body)
    except ValueError as error:
        kind = "Newtonsoft.Json.JsonReaderException"
        raise Refusal(_error(400, "Invalid JSON content", kind, str(error))) from None
    return body


async def _signal_input(request: Request) -> str | None:
    body = (await request.body()).decode(errors="replace")
    if not body and request.headers.get("content-length") == "0":
        return None
    kind = request.headers.get("content-type", "").lower()
    if not body or not kind.startswith("application/json"):
        return quoted(body)
    try:
        return reserialized_or_raise(body)
    except ValueError as error:
        raise Refusal(_message(400, f"Could not parse JSON content: {error}")) from None


def reserialized_or_raise(body: str) -> str:
    """The body as the extension passes it on. Raises ValueError."""
    parse(body)
    return reserialized(body)


def _trace_context(request: Request) -> dict[str, Any] | None:
    """Kept out of the history, as the extension does with its default tracing settings."""
    return None


def _key(segment: str) -> str:
    """An empty key is written `$` in addresses."""
    return "" if segment == "$" else segment


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers.get('host') or request.url.netloc}"


# -- answers


def _status_of(record: InstanceRecord | EntityRecord, *, show_input: bool) -> dict[str, Any]:
    if isinstance(record, EntityRecord):
        return status_view.entity_status(record, show_input=show_input)
    return status_view.instance_status(record, show_input=show_input)


def _next_page(records: Any, top: int) -> dict[str, str]:
    """The header that asks for the rest: the next id, in Base64."""
    if len(records) <= top:
        return {}
    record = records[top]
    first = record.entity_id if isinstance(record, EntityRecord) else record.instance_id
    return {TOKEN_HEADER: base64.b64encode(first.encode()).decode()}


def _json(status: int, value: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(compact(value), status, headers, "application/json; charset=utf-8")


def _message(status: int, message: str) -> Response:
    # The SDK reads ExceptionMessage of a 400; the extension leaves it out of some answers.
    return _json(status, {"Message": message})


def _error(status: int, message: str, kind: str, exception_message: str | None = None) -> Response:
    shown = exception_message if exception_message is not None else message
    return _json(status, {"Message": message, "ExceptionMessage": shown, "ExceptionType": kind, "StackTrace": None})


def _not_found() -> Response:
    return Response(status_code=404)
