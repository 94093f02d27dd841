"""A call of the model API: what all operations have in common, from who asks to how a connection is broken.

Checked in the service's order: who asks, api-version, deployment, body, rate limit. Then a fault decides what goes
wrong, if anything. The handler is cancelled when its client goes, and the time of that is noted.

Three surfaces: `/openai/deployments/{deployment}` and `/openai` (classic), `/openai/v1` (v1), and `/v1` (plain: what an
OpenAI-compatible server without Azure's annotations and headers sends).
"""

import asyncio
import socket
import struct
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import NoReturn

from aiohttp import HttpVersion11, web

from stand_in.azure_openai.access import check_access, check_classic_version, check_plain_access, check_v1_version
from stand_in.azure_openai.completion_request import CompletionRequest
from stand_in.azure_openai.deployments import Deployment, Deployments, Speed
from stand_in.azure_openai.errors import DeploymentNotFound, ModelApiError, NotEmulated, PayloadTooLarge, ServiceFault
from stand_in.azure_openai.faults import Fault, FaultCounters
from stand_in.azure_openai.outside_faults import OutsideFaults
from stand_in.azure_openai.rate_limits import RateLimits
from stand_in.azure_openai.request_log import RequestLog
from stand_in.azure_openai.scripted_model import Script

LARGEST_BODY = 16 * 1024 * 1024
REGION = "Local"
# A reset overtakes what the client has not read yet: it gets this long to read the tokens before the cut.
SECONDS_BEFORE_RESET = 0.05
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST


class Surface(Enum):
    """The family of URLs a call came through."""

    CLASSIC = "classic"
    V1 = "v1"
    PLAIN = "plain"

    @property
    def is_azure(self) -> bool:
        return self is not Surface.PLAIN


class ModelService:
    """What all calls share."""

    def __init__(
        self,
        deployments: Deployments,
        counters: FaultCounters,
        outside_faults: OutsideFaults,
        limits: RateLimits,
        log: RequestLog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.deployments = deployments
        self.counters = counters
        self.outside_faults = outside_faults
        self.limits = limits
        self.log = log
        self.now = clock  # Unix seconds

    def check_caller(self, request: web.Request, surface: Surface) -> tuple[str, str]:
        """How the caller identified itself, and the api-version that holds."""
        version = request.query.get("api-version")
        if surface is Surface.PLAIN:
            return check_plain_access(request.headers), "v1"
        access = check_access(request.headers, self.now())
        return access, check_classic_version(version) if surface is Surface.CLASSIC else check_v1_version(version)

    def find_deployment(self, name: str) -> Deployment:
        deployment = self.deployments.find(name)
        if deployment is None:
            raise DeploymentNotFound(name, self.deployments.names())
        return deployment


class Call:
    """One request and its answer; `run` is the operation's own."""

    kind = ""  # the operation, as the request log names it

    def __init__(self, service: ModelService, request: web.Request, surface: Surface) -> None:
        self.service = service
        self.request = request
        self.surface = surface
        self.started = asyncio.get_running_loop().time()
        self.record = record = service.log.open(
            request.path, request.query.get("api-version"), service.now(), kind=self.kind
        )
        record.request_id = str(uuid.uuid4())
        peer = request.transport.get_extra_info("peername") if request.transport else None
        record.peer = f"{peer[0]}:{peer[1]}" if peer else None
        record.client_request_id = request.headers.get("x-ms-client-request-id")
        self.headers = {"x-request-id": record.request_id, "x-content-type-options": "nosniff"}
        if surface.is_azure:
            self.headers |= {"apim-request-id": record.request_id, "x-ms-region": REGION}
        if record.client_request_id:
            self.headers["x-ms-client-request-id"] = record.client_request_id

    async def run(self) -> web.StreamResponse:
        """The answer, or a ModelApiError."""
        raise NotImplementedError

    async def answer(self) -> web.StreamResponse:
        """Run, with errors in the service's form and the end noted."""
        record = self.record
        try:
            response = await self.run()
        except ModelApiError as error:
            record.status, record.error_code = error.status, error.code
            response = error.to_response(self.headers)
        except asyncio.CancelledError:
            if record.ended_at is None:
                record.disconnected_at = self.service.now()
            raise
        finally:
            if record.ended_at is None and record.disconnected_at is None:
                record.ended_at = self.service.now()
        return response

    async def read_body(self) -> bytes:
        try:
            body = await self.request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise PayloadTooLarge(LARGEST_BODY) from error
        self.service.log.keep_body(self.record, body)
        return body

    def admit(self, deployment: Deployment, prompt_tokens: int, answer_tokens: int | None) -> None:
        """Spend the rate limit, and let Azure's headers say what is left of it."""
        limits = self.service.limits.admit(deployment.name, prompt_tokens, answer_tokens)
        if self.surface.is_azure:
            self.headers |= limits | {"x-ms-deployment-name": deployment.name, "x-ms-rai-invoked": "true"}

    def admit_completion(self, deployment: Deployment, body: CompletionRequest) -> None:
        record = self.record
        record.stream, record.message_count, record.messages_hash = body.stream, len(body.messages), body.messages_hash
        asked = body.max_tokens if body.max_tokens < deployment.max_output_tokens else None
        self.admit(deployment, body.prompt_tokens, asked)

    async def meet_fault(self, deployment: Deployment, script: Script | None = None) -> Fault | None:
        """The fault of this call: one set from outside, else one the prompt orders. Those before an answer happen here;
        one within the answer is returned."""
        fault = self.service.outside_faults.choose(deployment.name, self.kind)
        if fault is None and script is not None:
            fault = self.service.counters.choose(script.fault_key, script.directives.faults, deployment.name)
        if fault is None:
            return None
        self.record.fault = fault.kind
        if fault.is_within_answer:
            return fault
        if fault.kind == "refuse":
            await self.reset_connection()
        if fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
            raise ServiceFault(504, {})
        raise fault.to_error(deployment.context_tokens)

    def speed_of(self, deployment: Deployment, script: Script, fault: Fault | None) -> Speed:
        speed = script.directives.apply_to(deployment.speed)
        if not self.surface.is_azure:
            return replace(speed, async_filter=False)
        if fault is not None and fault.kind == "async-filter":
            return replace(speed, async_filter=True)
        return speed

    async def open_stream(self, first: bytes) -> tuple[web.StreamResponse, asyncio.Transport]:
        """Headers and the first events leave at once, so a client knows who answers before the first token is due."""
        if self.request.version < HttpVersion11:
            raise NotEmulated("streaming over HTTP/1.0, which has no chunks")
        streaming = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache, must-revalidate"}
        response = web.StreamResponse(headers=self.headers | streaming | {"x-accel-buffering": "no"})
        response.enable_chunked_encoding()
        await response.prepare(self.request)
        self.record.status, self.record.headers_at = 200, self.service.now()
        await response.write(first or b": ready\n\n")  # aiohttp sends headers with the first bytes
        return response, self.transport()

    def transport(self) -> asyncio.Transport:
        transport = self.request.transport
        if transport is None:
            raise asyncio.CancelledError
        return transport

    async def reset_connection(self) -> NoReturn:
        """Close without a word, as a dying server does; the lost connection then cancels this handler."""
        transport = self.transport()
        await asyncio.sleep(SECONDS_BEFORE_RESET)
        self.record.ended_at = self.service.now()
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.abort()
        await asyncio.Event().wait()
        raise AssertionError("the handler of a lost connection is cancelled")
