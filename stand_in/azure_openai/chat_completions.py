"""Chat completions: one call from its headers to the last byte of its answer.

Checked in the service's order: who asks, api-version, deployment, body, rate limit. Then the scripted model decides
what is said and a fault, if the prompt orders one, what goes wrong. Headers leave at once, so a client knows who
answers before the first token is due. The handler is cancelled when its client goes, and notes the time.

Three surfaces: `/openai/deployments/{deployment}` (classic), `/openai/v1` (v1), and `/v1` (plain: what an
OpenAI-compatible server without Azure's annotations and headers sends).
"""

import asyncio
import math
import socket
import struct
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from enum import Enum

from aiohttp import HttpVersion11, web

from stand_in.azure_openai.access import check_access, check_classic_version, check_plain_access, check_v1_version
from stand_in.azure_openai.answer import Answer, build_answer, complete_body, stream_events
from stand_in.azure_openai.completion_request import CompletionRequest, parse_completion_request, read_model_name
from stand_in.azure_openai.deployments import Deployment, Deployments, Speed
from stand_in.azure_openai.errors import DeploymentNotFound, ModelApiError, NotEmulated, PayloadTooLarge, ServiceFault
from stand_in.azure_openai.faults import Fault, FaultCounters
from stand_in.azure_openai.paced_sender import PacedSender
from stand_in.azure_openai.rate_limits import RateLimits
from stand_in.azure_openai.request_log import RequestLog, RequestRecord
from stand_in.azure_openai.scripted_model import write_script
from stand_in.azure_openai.server_sent_events import DONE, SYSTEM_FINGERPRINT, ChunkWriter

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


class ChatCompletions:
    """The handlers, with what they share."""

    def __init__(
        self,
        deployments: Deployments,
        counters: FaultCounters,
        limits: RateLimits,
        log: RequestLog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._deployments = deployments
        self._counters = counters
        self._limits = limits
        self._log = log
        self._clock = clock

    async def classic(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, Surface.CLASSIC)

    async def v1(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, Surface.V1)

    async def plain(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, Surface.PLAIN)

    async def _answer(self, request: web.Request, surface: Surface) -> web.StreamResponse:
        call = Call(
            self, request, surface, self._log.open(request.path, request.query.get("api-version"), self._clock())
        )
        try:
            response = await call.run()
        except ModelApiError as error:
            call.record.status, call.record.error_code = error.status, error.code
            response = error.to_response(call.headers)
        except asyncio.CancelledError:
            if call.record.ended_at is None:
                call.record.disconnected_at = self._clock()
            raise
        finally:
            if call.record.ended_at is None and call.record.disconnected_at is None:
                call.record.ended_at = self._clock()
        return response

    def check_caller(self, request: web.Request, surface: Surface) -> tuple[str, str]:
        """How the caller identified itself, and the api-version that holds."""
        version = request.query.get("api-version")
        if surface is Surface.PLAIN:
            return check_plain_access(request.headers), "v1"
        access = check_access(request.headers, self._clock())
        return access, check_classic_version(version) if surface is Surface.CLASSIC else check_v1_version(version)

    def find_deployment(self, name: str) -> Deployment:
        deployment = self._deployments.find(name)
        if deployment is None:
            raise DeploymentNotFound(name, self._deployments.names())
        return deployment

    def admit(self, deployment: Deployment, body: CompletionRequest) -> dict[str, str]:
        asked = body.max_tokens if body.max_tokens < deployment.max_output_tokens else None
        return self._limits.admit(deployment.name, body.prompt_tokens, asked)

    def choose_fault(self, body: CompletionRequest, faults: tuple[Fault, ...]) -> Fault | None:
        return self._counters.choose(body.messages_hash, faults)

    def keep_body(self, record: RequestRecord, body: bytes) -> None:
        self._log.keep_body(record, body)

    def now(self) -> float:
        return self._clock()


class Call:
    """One request and its answer."""

    def __init__(self, service: ChatCompletions, request: web.Request, surface: Surface, record: RequestRecord) -> None:
        self._service = service
        self._request = request
        self._surface = surface
        self._started = asyncio.get_running_loop().time()
        self.record = record
        record.request_id = str(uuid.uuid4())
        peer = request.transport.get_extra_info("peername") if request.transport else None
        record.peer = f"{peer[0]}:{peer[1]}" if peer else None
        record.client_request_id = request.headers.get("x-ms-client-request-id")
        self.headers = {"x-request-id": record.request_id, "x-content-type-options": "nosniff"}
        if surface is not Surface.PLAIN:
            self.headers |= {"apim-request-id": record.request_id, "x-ms-region": REGION}
        if record.client_request_id:
            self.headers["x-ms-client-request-id"] = record.client_request_id

    async def run(self) -> web.StreamResponse:
        service, record = self._service, self.record
        record.access, version = service.check_caller(self._request, self._surface)
        if self._surface is Surface.CLASSIC:
            deployment = service.find_deployment(self._request.match_info["deployment"])
        raw = await self._read_body()
        if self._surface is not Surface.CLASSIC:
            deployment = service.find_deployment(read_model_name(raw))
        record.deployment = deployment.name
        body = parse_completion_request(raw, deployment, version)
        record.stream, record.message_count, record.messages_hash = body.stream, len(body.messages), body.messages_hash
        limits = service.admit(deployment, body)
        if self._surface is not Surface.PLAIN:
            self.headers |= limits | {"x-ms-deployment-name": deployment.name, "x-ms-rai-invoked": "true"}
        script = write_script(body.messages)
        fault = service.choose_fault(body, script.directives.faults)
        record.fault = fault.kind if fault else None
        if fault is not None and not fault.is_within_answer:
            await self._fail(fault, deployment)
        speed = script.directives.apply_to(deployment.speed)
        if self._surface is Surface.PLAIN:
            speed = replace(speed, async_filter=False)
        elif fault is not None and fault.kind == "async-filter":
            speed = replace(speed, async_filter=True)
        answer = build_answer(script, body, deployment)
        if body.stream:
            return await self._stream(answer, body, deployment, speed, fault)
        return await self._complete(answer, deployment, speed, fault)

    async def _read_body(self) -> bytes:
        try:
            body = await self._request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise PayloadTooLarge(LARGEST_BODY) from error
        self._service.keep_body(self.record, body)
        return body

    async def _fail(self, fault: Fault, deployment: Deployment) -> None:
        """A fault before the first byte."""
        if fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
            raise ServiceFault(504, {})
        raise fault.to_error(deployment.context_tokens)

    async def _stream(
        self, answer: Answer, body: CompletionRequest, deployment: Deployment, speed: Speed, fault: Fault | None
    ) -> web.StreamResponse:
        if self._request.version < HttpVersion11:
            raise NotEmulated("streaming over HTTP/1.0, which has no chunks")
        writer = ChunkWriter(
            completion_id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(self._service.now()),
            model=deployment.model,
            include_usage=body.include_usage,
            is_azure=self._surface is not Surface.PLAIN,
            async_filter=speed.async_filter,
        )
        streaming = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache, must-revalidate"}
        response = web.StreamResponse(headers=self.headers | streaming | {"x-accel-buffering": "no"})
        response.enable_chunked_encoding()
        await response.prepare(self._request)
        self.record.status, self.record.headers_at = 200, self._service.now()
        await response.write(writer.prompt_filter() or b": ready\n\n")  # aiohttp sends headers with the first bytes
        transport = self._request.transport
        if transport is None:
            raise asyncio.CancelledError
        sender = PacedSender(transport, speed, started=self._started)
        events = stream_events(
            answer,
            writer,
            fault,
            sender,
            self.record,
            include_usage=body.include_usage,
            async_filter=speed.async_filter,
        )
        await sender.send(events)
        if fault is not None and fault.kind == "cut":
            await self._reset_connection(transport)
        self.record.ended_at = self._service.now()
        if self.record.finish_reason is not None:
            await response.write(DONE)
        await response.write_eof()
        return response

    async def _complete(
        self, answer: Answer, deployment: Deployment, speed: Speed, fault: Fault | None
    ) -> web.Response:
        writing = 0.0 if math.isinf(speed.tokens_per_second) else len(answer.pieces) / speed.tokens_per_second
        stalled = fault.seconds if fault is not None and fault.kind == "stall" else 0.0
        await asyncio.sleep(speed.first_token_seconds + writing + stalled)
        if fault is not None and fault.kind in ("cut", "end"):
            transport = self._request.transport
            if transport is None:
                raise asyncio.CancelledError
            await self._reset_connection(transport)
        if fault is not None and fault.kind == "error":
            raise ServiceFault(500, {})
        envelope = {
            "created": int(self._service.now()),
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "model": deployment.model,
            "system_fingerprint": SYSTEM_FINGERPRINT,
        }
        content = complete_body(answer, fault, envelope, is_azure=self._surface is not Surface.PLAIN)
        self.record.status, self.record.tokens_sent = 200, len(answer.pieces)
        self.record.finish_reason = content["choices"][0]["finish_reason"]
        return web.json_response(content, headers=self.headers)

    async def _reset_connection(self, transport: asyncio.Transport) -> None:
        """Close without a word, as a dying server does; the lost connection then cancels this handler."""
        await asyncio.sleep(SECONDS_BEFORE_RESET)
        self.record.ended_at = self._service.now()
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.abort()
        await asyncio.Event().wait()
