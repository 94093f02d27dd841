"""What the durable HTTP API reads from requests, and how its answers look.

Parameters are read as leniently as the extension reads them: names in any case, empty means absent, a value that makes
no sense is ignored.
"""

import base64
import binascii
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from stand_in.durable import status_view
from stand_in.durable.entity import EntityRecord
from stand_in.durable.instance import InstanceRecord, Status
from stand_in.durable.json_text import compact, parse, quoted
from stand_in.durable.timestamps import ticks

TOKEN_HEADER = "x-ms-continuation-token"
WENT_WRONG = "Something went wrong while processing your request"
_PAGE = 100
_STATUSES = frozenset(status.value for status in Status)


class Refusal(Exception):
    """The request gets this answer instead of what it wanted."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def parameter(request: Request, name: str) -> str | None:
    """A query parameter, its name in any case; empty means absent."""
    for key, value in request.query_params.multi_items():
        if key.lower() == name.lower() and value:
            return value
    return None


def flag(request: Request, name: str, *, default: bool = False) -> bool:
    """A yes or no; anything but true and false is the default."""
    value = (parameter(request, name) or "").lower()
    return value == "true" if value in ("true", "false") else default


def seconds(request: Request, name: str) -> float | None:
    """A number of seconds, or None."""
    try:
        return float(parameter(request, name) or "")
    except ValueError:
        return None


def moment(request: Request, name: str) -> int | None:
    """A time in ticks, or None."""
    try:
        return ticks((parameter(request, name) or "").strip())
    except ValueError:
        return None


def statuses(request: Request) -> tuple[str, ...]:
    """Known statuses, from comma lists and repeated parameters; unknown ones and other cases are ignored."""
    given = [value for key, value in request.query_params.multi_items() if key.lower() == "runtimestatus"]
    names = {name.strip() for value in given for name in value.split(",")}
    return tuple(sorted(names & _STATUSES))


def page_size(request: Request) -> int:
    """How many entries a page has. Raises Refusal for a negative number."""
    try:
        top = int(parameter(request, "top") or "")
    except ValueError:
        return _PAGE
    if top < 0:
        message = "An error occurred while communicating with Azure Storage"
        kind = "DurableTask.AzureStorage.Storage.DurableTaskStorageException"
        raise Refusal(error_answer(500, WENT_WRONG, kind, message))
    return top


def page_start(request: Request) -> str | None:
    """The id at which the page begins; None for a token that means nothing."""
    try:
        return base64.b64decode(request.headers.get(TOKEN_HEADER, ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


async def start_input(request: Request) -> str | None:
    """The input of a start, as it came. Raises Refusal when it is no JSON."""
    body = (await request.body()).decode(errors="replace")
    if not body and request.headers.get("content-length") == "0":
        return None
    if not body.strip():
        return body
    try:
        parse(body)
    except ValueError as error:
        kind = "Newtonsoft.Json.JsonReaderException"
        raise Refusal(error_answer(400, "Invalid JSON content", kind, str(error))) from None
    return body


async def signal_input(request: Request) -> str | None:
    """The input of a signal as JSON text; a body of another type is one text. Raises Refusal."""
    body = (await request.body()).decode(errors="replace")
    if not body and request.headers.get("content-length") == "0":
        return None
    kind = request.headers.get("content-type", "").lower()
    if not body or not kind.startswith("application/json"):
        return quoted(body)
    try:
        return compact(parse(body))
    except ValueError as error:
        raise Refusal(message_answer(400, f"Could not parse JSON content: {error}")) from None


def origin_of(request: Request) -> str:
    """The origin under which the client sees this server."""
    return f"{request.url.scheme}://{request.headers.get('host') or request.url.netloc}"


def status_of(record: InstanceRecord | EntityRecord, *, show_input: bool) -> dict[str, Any]:
    """An instance or an entity as a list shows it."""
    if isinstance(record, EntityRecord):
        return status_view.entity_status(record, show_input=show_input)
    return status_view.instance_status(record, show_input=show_input)


def next_page(records: Any, top: int) -> dict[str, str]:
    """The header that asks for the rest: the next id, in Base64."""
    if len(records) <= top:
        return {}
    record = records[top]
    first = record.entity_id if isinstance(record, EntityRecord) else record.instance_id
    return {TOKEN_HEADER: base64.b64encode(first.encode()).decode()}


def json_answer(status: int, value: Any, headers: dict[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    return Response(compact(value), status, headers, "application/json; charset=utf-8")


def message_answer(status: int, message: str) -> Response:
    """A refusal with a message alone."""
    return json_answer(status, {"Message": message})


def error_answer(status: int, message: str, kind: str, exception_message: str | None = None) -> Response:
    """A refusal with the name and the text of an exception, which the SDK reads from a 400."""
    shown = exception_message if exception_message is not None else message
    return json_answer(
        status, {"Message": message, "ExceptionMessage": shown, "ExceptionType": kind, "StackTrace": None}
    )


def not_found() -> Response:
    """Nothing is there; no body."""
    return Response(status_code=404)
