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
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import quote, unquote_plus

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
from stand_in.durable.json_text import compact, parse, value_or_text
from stand_in.durable.names import is_entity_id
from stand_in.durable.task_hub import EntityFilter, InstanceFilter
from stand_in.host.durable_requests import (
    WENT_WRONG,
    Refusal,
    error_answer,
    flag,
    json_answer,
    message_answer,
    moment,
    next_page,
    not_found,
    origin_of,
    page_size,
    page_start,
    parameter,
    seconds,
    signal_input,
    start_input,
    status_of,
    statuses,
)

logger = logging.getLogger(__name__)

RPC_PATH = "/durabletask"
WEBHOOKS_PATH = "/runtime/webhooks/durabletask"
_METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
# Connections that mean the app's own storage.
_OWN_CONNECTIONS = frozenset({"", "storage", "azurewebjobsstorage"})


def durable_routes(engine: DurableEngine, links: ClientLinks, path: str = WEBHOOKS_PATH) -> list[Route]:
    """The routes under `path`: the management API's by default, the SDK's endpoint with RPC_PATH."""
    api = DurableHttpApi(engine, links, path)
    return [
        Route(path, api.handle, methods=_METHODS),
        Route(f"{path}/{{rest:path}}", api.handle, methods=_METHODS),
    ]


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
                        return error_answer(400, "Only the task hub of the running app can be used.", "OtherTaskHub")
                    return await self._start(request, name, rest[0] if rest else "")
                case (method, "instances", *rest):
                    return await self._instances(request, method, rest) if own_hub else not_found()
                case (method, "entities", *rest):
                    return await self._entities(request, method, rest) if own_hub else not_found()
                case _:
                    return not_found()
        except Refusal as refusal:
            return refusal.response
        except (EngineStopped, TaskHubFailed) as error:
            return error_answer(503, str(error), type(error).__name__)

    def _segments(self, request: Request) -> list[str]:
        """The path below the base, decoded a second time as forms are: `+` and `%2520` are spaces here."""
        below = unquote_plus(request.scope["path"][len(self._path) :]).strip("/")
        first, *rest = below.split("/")
        return [first.lower(), *rest]

    def _is_own_hub(self, request: Request) -> bool:
        connection = parameter(request, "connection") or ""
        if connection.lower() not in _OWN_CONNECTIONS | {self._links.connection.lower()}:
            message = f"Unable to resolve the Azure Storage connection named '{connection}'."
            raise Refusal(error_answer(500, WENT_WRONG, "System.InvalidOperationException", message))
        hub = parameter(request, "taskHub") or self._links.task_hub
        return hub.lower() == self._links.task_hub.lower()

    # -- starting

    async def _start(self, request: Request, name: str, instance_id: str) -> Response:
        timeout, interval = seconds(request, "timeout"), seconds(request, "pollingInterval")
        if timeout is not None and interval is not None and interval > timeout:
            return message_answer(400, f"Total timeout {timeout:g} should be bigger than retry timeout {interval:g}")
        try:
            started = await self._engine.start_instance(
                name,
                instance_id=instance_id or None,
                input_text=await start_input(request),
                version=parameter(request, "version"),
            )
        except InstanceExists as error:
            return message_answer(409, str(error))
        if timeout is not None and interval is not None:
            return await self._wait(request, started, timeout, interval)
        return self._links_of(request, started)

    async def _wait(self, request: Request, instance_id: str, timeout: float, interval: float) -> Response:
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            record = await self._engine.status(instance_id)
            if isinstance(record, InstanceRecord) and record.status.is_final:
                if record.status is Status.COMPLETED:
                    return json_answer(200, value_or_text(record.output))
                return json_answer(200, status_view.instance_status(record))
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return self._links_of(request, instance_id)
            await asyncio.sleep(min(interval, left))

    def _links_of(self, request: Request, instance_id: str) -> Response:
        origin = None if self._path == RPC_PATH else origin_of(request)
        links = self._links.management(instance_id, origin, with_rewind=False)
        return json_answer(202, links, {"Location": links["statusQueryGetUri"], "Retry-After": "10"})

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
        return not_found()

    async def _query(self, request: Request) -> Response:
        wanted = InstanceFilter(
            parameter(request, "instanceIdPrefix") or "",
            moment(request, "createdTimeFrom"),
            moment(request, "createdTimeTo"),
            statuses(request),
        )
        top, start = page_size(request), page_start(request)
        if start is None:
            return json_answer(200, [])
        records = await self._engine.query(wanted, top + 1, start)
        show_input = flag(request, "showInput", default=True)
        shown = [status_of(record, show_input=show_input) for record in records[:top]]
        return json_answer(200, shown, next_page(records, top))

    async def _status(self, request: Request, instance_id: str) -> Response:
        record = await self._engine.status(instance_id)
        if record is None:
            return not_found()
        show_input = flag(request, "showInput", default=True)
        if isinstance(record, EntityRecord):
            return json_answer(202, status_view.entity_status(record, show_input=show_input), self._poll(request))
        history = None
        if flag(request, "showHistory") and record.status is not Status.PENDING:
            try:
                history = status_view.shown_history(
                    await self._engine.history(instance_id),
                    show_output=flag(request, "showHistoryOutput"),
                    show_input=show_input,
                )
            except HistoryUnreadable as error:
                message = "One or more of the arguments submitted is incorrect"
                return error_answer(400, message, "System.ArgumentException", str(error))
        shown = status_view.instance_status(record, show_input=show_input, history=history)
        if not record.status.is_final:
            return json_answer(202, shown, self._poll(request))
        failed = record.status is Status.FAILED and flag(request, "returnInternalServerErrorOnFailure")
        return json_answer(500 if failed else 200, shown)

    def _poll(self, request: Request) -> dict[str, str]:
        query = request.url.query
        return {
            "Location": origin_of(request)
            + quote(request.scope["path"], safe="/@:!*'()")
            + (f"?{query}" if query else ""),
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
        reason = parameter(request, "reason")
        if verb == "rewind":
            return await self._rewind(instance_id, reason)
        if verb not in actions:
            return not_found()
        if is_entity_id(instance_id) and await self._engine.status(instance_id) is not None:
            return error_answer(501, f"The stand-in does not {verb} entities.", "System.NotSupportedException")
        try:
            await actions[verb](instance_id, reason)
        except InstanceNotFound:
            return not_found()
        except InstanceFinished:
            return Response(status_code=410)
        except WrongStatus as error:
            if (await self._final(instance_id)) is True:
                return Response(status_code=410)
            return error_answer(500, WENT_WRONG, "System.InvalidOperationException", str(error))
        return Response(status_code=202)

    async def _final(self, instance_id: str) -> bool:
        record = await self._engine.status(instance_id)
        return isinstance(record, InstanceRecord) and record.status.is_final

    async def _rewind(self, instance_id: str, reason: str | None) -> Response:
        try:
            await self._engine.rewind(instance_id, reason)
        except InstanceNotFound as error:
            return json_answer(404, str(error))
        except WrongStatus as error:
            return json_answer(412, str(error))
        return Response(status_code=202)

    async def _restart(self, request: Request, instance_id: str) -> Response:
        with_new_id = flag(request, "restartWithNewInstanceId", default=True)
        try:
            started = await self._engine.restart(instance_id, with_new_id=with_new_id)
        except InstanceNotFound as error:
            message = "InstanceId does not match a valid orchestration instance."
            return error_answer(400, message, "System.ArgumentException", f"{error} (Parameter 'instanceId')")
        except InstanceExists as error:
            message = "A non-terminal instance with this instance ID already exists."
            kind = "DurableTask.Core.Exceptions.OrchestrationAlreadyExistsException"
            return error_answer(409, message, kind, str(error))
        return self._links_of(request, started)

    async def _raise_event(self, request: Request, instance_id: str, event: str) -> Response:
        record = await self._engine.status(instance_id)
        if not isinstance(record, InstanceRecord):
            return not_found()
        if record.status.is_final:
            return Response(status_code=410)
        if not request.headers.get("content-type", "").lower().startswith("application/json"):
            return message_answer(400, "Only application/json request content is supported")
        try:
            data = compact(parse((await request.body()).decode()))
        except ValueError as error:
            return error_answer(400, "Invalid JSON content", "Newtonsoft.Json.JsonReaderException", str(error))
        try:
            await self._engine.raise_event(instance_id, event, data)
        except (InstanceNotFound, InstanceFinished):
            return Response(status_code=410)
        return Response(status_code=202)

    async def _purge(self, instance_id: str) -> Response:
        try:
            found = await self._engine.purge(instance_id)
        except WrongStatus as error:
            return json_answer(412, str(error))
        return json_answer(200, {"instancesDeleted": 1}) if found else not_found()

    async def _purge_many(self, request: Request) -> Response:
        created_from = moment(request, "createdTimeFrom")
        if created_from is None:
            return json_answer(400, "Please provide value for 'createdTimeFrom' parameter.")
        wanted = InstanceFilter("", created_from, moment(request, "createdTimeTo"), statuses(request))
        count = await self._engine.purge_many(wanted)
        return json_answer(200, {"instancesDeleted": count}) if count else not_found()

    # -- entities

    async def _entities(self, request: Request, method: str, rest: list[str]) -> Response:
        match (method, *rest):
            case ("GET",) | ("GET", _):
                return await self._list_entities(request, rest[0] if rest else None)
            case ("GET", name, key):
                record = await self._engine.read_entity(name, key)
                return not_found() if record is None else json_answer(200, value_or_text(record.state))
            case ("POST", name, key):
                return await self._signal(name, key, parameter(request, "op") or "", await signal_input(request))
            case ("DELETE", name, key):
                return await self._signal(name, key, "delete", None)
        return not_found()

    async def _signal(self, name: str, key: str, operation: str, input_text: str | None) -> Response:
        try:
            await self._engine.signal_entity(name, key, operation, input_text)
        except FunctionUnknown as error:
            return message_answer(400, str(error))
        return Response(status_code=202)

    async def _list_entities(self, request: Request, name: str | None) -> Response:
        wanted = EntityFilter(
            name or None, moment(request, "lastOperationTimeFrom"), moment(request, "lastOperationTimeTo")
        )
        top, start = page_size(request), page_start(request)
        if start is None:
            return json_answer(200, [])
        records = await self._engine.list_entities(wanted, top + 1, start)
        with_state = flag(request, "fetchState")
        shown = [status_view.listed_entity(record, with_state=with_state) for record in records[:top]]
        return json_answer(200, shown, next_page(records, top))
