"""Everything the emulator refuses, with the status and the code that the service uses for it.

SignalRError
├── BadRequest          400  an argument is missing or wrong
├── TokenRefused        401  no access token, or not one for this request
├── NotFound            404  no such connection, group, user, or membership
├── Conflict            409  the connection is already open
├── PayloadTooLarge     413  more than 1 MB
├── UnsupportedMedia    415  a body that is not JSON
├── NotSupported        501  an operation that the service has and this emulator has not, by name
└── InjectedFault       any  a test asked for it (`/_admin/faults`)

The data plane answers with the service's `ErrorDetail` (swagger V20220601) and the header `x-ms-error-code`; the client
endpoint answers with plain text, as ASP.NET Core SignalR does.
"""

from typing import Any

from aiohttp import web


class SignalRError(Exception):
    """This happened: a request was refused. `code` is machine-readable, `target` names the offending part."""

    status = 500

    def __init__(self, code: str, message: str, *, target: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.target = target
        self.headers: dict[str, str] = {}

    def to_dict(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "target": self.target, "details": [], "inner": None}


class BadRequest(SignalRError):
    """This happened: an argument of the request is missing or wrong."""

    status = 400


class TokenRefused(SignalRError):
    """This happened: the request carries no access token, or not one for this request."""

    status = 401

    def __init__(self, reason: str) -> None:
        super().__init__("Unauthorized", reason)
        # The form of ASP.NET Core's JwtBearer challenge; its description is what people search for.
        self.headers["WWW-Authenticate"] = f'Bearer error="invalid_token", error_description="{reason}"'


class NotFound(SignalRError):
    """This happened: the connection, group, user or membership does not exist."""

    status = 404


class Conflict(SignalRError):
    """This happened: the connection is already open on another transport."""

    status = 409


class PayloadTooLarge(SignalRError):
    """This happened: a body of more than 1 MB."""

    status = 413


class UnsupportedMedia(SignalRError):
    """This happened: a message body that is not JSON."""

    status = 415


class NotSupported(SignalRError):
    """This happened: the service has this operation, the emulator has not. `stand_in/README.md` lists them."""

    status = 501

    def __init__(self, operation: str) -> None:
        super().__init__(
            "Operation.NotSupported",
            f"The SignalR emulator does not support {operation}; stand_in/README.md lists what it does.",
            target=operation,
        )


class InjectedFault(SignalRError):
    """This happened: a test asked for this answer through `/_admin/faults`."""

    def __init__(self, status: int, retry_after: float | None) -> None:
        super().__init__("Fault.Injected", f"The fault that was asked for: status {status}.")
        self.status = status
        if retry_after is not None:
            self.headers["Retry-After"] = f"{retry_after:g}"


def data_plane_response(error: SignalRError) -> web.Response:
    """The refusal as the REST API gives it."""
    headers = {"x-ms-error-code": error.code, **error.headers}
    return web.json_response(error.to_dict(), status=error.status, headers=headers)


def client_response(error: SignalRError) -> web.Response:
    """The refusal as the client endpoint gives it."""
    return web.Response(text=error.message, status=error.status, headers=error.headers)
