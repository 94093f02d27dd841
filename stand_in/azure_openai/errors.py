"""What the service refuses, and the exact body in which it says so.

ModelApiError
├── Refused             401: the key or token is not accepted
├── ResourceNotFound    404: no such path or api-version
├── DeploymentNotFound  404: no deployment of that name
├── ResponseNotFound    404: no stored response of that id
├── InvalidRequest      400: a parameter is missing, malformed, unknown or out of range
│   ├── UnsupportedParameter   400: this kind of model does not take it
│   └── NotEmulated            400: the service has it, this emulator does not
├── ContextLengthExceeded      400: the messages do not fit
├── PromptFiltered             400: the content filter blocked the prompt
├── PayloadTooLarge     413
└── ServiceFault        any status asked for by a `#fault` directive

Bodies follow recorded answers of the service; texts of its messages are its own words where they are public.
"""

from typing import Any

import aiohttp.web

FILTER_CATEGORIES = ("hate", "self_harm", "sexual", "violence")


class ModelApiError(Exception):
    """This happened: the request gets an error answer instead of a completion."""

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        *,
        kind: str | None = None,
        param: str | None = None,
        extra: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.kind = kind
        self.param = param
        self.extra = extra
        self.headers = headers or {}

    def to_dict(self) -> dict[str, Any]:
        """The `error` object. Gateway errors carry code and message alone, the model's own ones all four members."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.kind is not None or self.param is not None:
            error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error | (self.extra or {})}

    def to_response(self, headers: dict[str, str]) -> aiohttp.web.Response:
        return aiohttp.web.json_response(self.to_dict(), status=self.status, headers=headers | self.headers)


class Refused(ModelApiError):
    """This happened: neither `api-key` nor `Authorization` holds something that is accepted here."""

    def __init__(self, hint: str) -> None:
        super().__init__(
            401,
            "401",
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for"
            f" an active subscription and use a correct regional API endpoint for your resource. (Emulator: {hint})",
        )


class ResourceNotFound(ModelApiError):
    """This happened: nothing answers at this path with this api-version."""

    def __init__(self, hint: str) -> None:
        super().__init__(404, "404", f"Resource not found (Emulator: {hint})")


class DeploymentNotFound(ModelApiError):
    """This happened: no deployment of that name."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(
            404,
            "DeploymentNotFound",
            "The API deployment for this resource does not exist. If you created the deployment within the last 5"
            f" minutes, please wait a moment and try again. (Emulator: {name!r} is not one of {', '.join(known)})",
        )


class ResponseNotFound(ModelApiError):
    """This happened: no stored response has this id, or it was deleted."""

    def __init__(self, response_id: str) -> None:
        super().__init__(404, None, f"Response with id '{response_id}' not found.", kind="invalid_request_error")


class InvalidRequest(ModelApiError):
    """This happened: the body is wrong; `param` names where."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(400, code, message, kind="invalid_request_error", param=param)


class UnsupportedParameter(InvalidRequest):
    """This happened: a reasoning model (or the other kind) was given what it does not take."""

    def __init__(self, param: str, advice: str = "") -> None:
        message = f"Unsupported parameter: '{param}' is not supported with this model.{advice and ' ' + advice}"
        super().__init__(message, param, "unsupported_parameter")


class NotEmulated(InvalidRequest):
    """This happened: the service can do it, this emulator cannot, and says so rather than pretend."""

    def __init__(self, what: str, param: str | None = None) -> None:
        message = f"The emulator does not support {what}: see stand_in/README.md, Azure OpenAI."
        super().__init__(message, param, "not_emulated")


class ContextLengthExceeded(ModelApiError):
    """This happened: the prompt is longer than the model's context."""

    def __init__(self, limit: int, found: int, param: str = "messages") -> None:
        super().__init__(
            400,
            "context_length_exceeded",
            f"This model's maximum context length is {limit} tokens. However, your messages resulted in {found} tokens."
            " Please reduce the length of the messages.",
            kind="invalid_request_error",
            param=param,
        )


class PromptFiltered(ModelApiError):
    """This happened: the content filter blocked the prompt. (Members are spelt as recorded.)"""

    def __init__(self) -> None:
        result = {category: {"filtered": False, "severity": "safe"} for category in FILTER_CATEGORIES}
        result["violence"] = {"filtered": True, "severity": "medium"}
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result}
        super().__init__(
            400,
            "content_filter",
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please"
            " modify your prompt and retry. To learn more about our content filtering policies please read our"
            " documentation: https://go.microsoft.com/fwlink/?linkid=2198766",
            param="prompt",
            extra={"status": 400, "innererror": inner},
        )


class PayloadTooLarge(ModelApiError):
    """This happened: the body is longer than the service reads."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, "413", f"The request body is larger than {limit} bytes.")


SERVICE_FAULTS: dict[int, tuple[str, str]] = {
    400: ("invalid_prompt", "Invalid prompt: your prompt was flagged by the model."),
    401: ("PermissionDenied", "The principal lacks the required data action on this resource."),
    403: ("403", "Access denied due to Virtual Network/Firewall rules."),
    404: ("DeploymentNotFound", "The API deployment for this resource does not exist."),
    408: ("Timeout", "The operation was timeout."),
    409: ("Conflict", "The request conflicts with another one."),
    422: ("unprocessable", "The request was well-formed but could not be processed."),
    429: (
        "429",
        "Requests to the ChatCompletions_Create Operation have exceeded the token rate limit of this deployment.",
    ),
    500: ("InternalServerError", "The server had an error while processing your request. Sorry about that!"),
    502: ("BadGateway", "Bad gateway."),
    503: ("ServiceUnavailable", "That model is currently overloaded with other requests."),
    504: ("GatewayTimeout", "The gateway did not receive an answer in time."),
}


class ServiceFault(ModelApiError):
    """This happened: a `#fault` directive asked for this status."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        code, message = SERVICE_FAULTS[status]
        super().__init__(status, code, message, headers=headers)
