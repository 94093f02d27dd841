"""Chat completions: the scripted model's answer, streamed in the service's chunks or whole."""

import asyncio
import math
import uuid

from aiohttp import web

from stand_in.azure_openai.answer import Answer, build_answers, complete_body, stream_events
from stand_in.azure_openai.completion_request import CompletionRequest, parse_completion_request, read_model_name
from stand_in.azure_openai.deployments import Deployment, Speed
from stand_in.azure_openai.errors import ServiceFault
from stand_in.azure_openai.faults import Fault
from stand_in.azure_openai.model_call import Call, ModelService, Surface
from stand_in.azure_openai.paced_sender import PacedSender
from stand_in.azure_openai.scripted_model import write_script
from stand_in.azure_openai.server_sent_events import DONE, SYSTEM_FINGERPRINT, ChunkWriter


class ChatCompletions:
    """The handlers."""

    def __init__(self, service: ModelService) -> None:
        self._service = service

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/openai/deployments/{deployment}/chat/completions", self.classic)
        router.add_post("/openai/v1/chat/completions", self.v1)
        router.add_post("/v1/chat/completions", self.plain)

    async def classic(self, request: web.Request) -> web.StreamResponse:
        return await CompletionCall(self._service, request, Surface.CLASSIC).answer()

    async def v1(self, request: web.Request) -> web.StreamResponse:
        return await CompletionCall(self._service, request, Surface.V1).answer()

    async def plain(self, request: web.Request) -> web.StreamResponse:
        return await CompletionCall(self._service, request, Surface.PLAIN).answer()


class CompletionCall(Call):
    """One completion."""

    kind = "chat.completions"

    async def run(self) -> web.StreamResponse:
        service, record = self.service, self.record
        record.access, version = service.check_caller(self.request, self.surface)
        if self.surface is Surface.CLASSIC:
            deployment = service.find_deployment(self.request.match_info["deployment"])
        raw = await self.read_body()
        if self.surface is not Surface.CLASSIC:
            deployment = service.find_deployment(read_model_name(raw))
        record.deployment = deployment.name
        body = parse_completion_request(raw, deployment, version)
        self.admit_completion(deployment, body)
        script = write_script(body.messages, drifts=deployment.drifts, schema=body.schema)
        fault = await self.meet_fault(deployment, script)
        speed = self.speed_of(deployment, script, fault)
        answers = build_answers(script, body, deployment)
        if body.stream:
            return await self._stream(answers, body, deployment, speed, fault)
        return await self._complete(answers, deployment, speed, fault)

    async def _stream(
        self, answers: list[Answer], body: CompletionRequest, deployment: Deployment, speed: Speed, fault: Fault | None
    ) -> web.StreamResponse:
        completion_id, created = f"chatcmpl-{uuid.uuid4().hex}", int(self.service.now())
        writers = [
            ChunkWriter(
                completion_id=completion_id,
                created=created,
                model=deployment.model,
                include_usage=body.include_usage,
                is_azure=self.surface.is_azure,
                async_filter=speed.async_filter,
                index=index,
            )
            for index in range(len(answers))
        ]
        response, transport = await self.open_stream(writers[0].prompt_filter())
        sender = PacedSender(transport, speed, started=self.started)
        events = stream_events(
            answers,
            writers,
            fault,
            sender,
            self.record,
            include_usage=body.include_usage,
            async_filter=speed.async_filter,
        )
        await sender.send(events)
        if fault is not None and fault.kind == "cut":
            await self.reset_connection()
        self.record.ended_at = self.service.now()
        if self.record.finish_reason is not None:
            await response.write(DONE)
        await response.write_eof()
        return response

    async def _complete(
        self, answers: list[Answer], deployment: Deployment, speed: Speed, fault: Fault | None
    ) -> web.Response:
        longest = max(len(answer.pieces) for answer in answers)
        writing = 0.0 if math.isinf(speed.tokens_per_second) else longest / speed.tokens_per_second
        stalled = fault.seconds if fault is not None and fault.kind in ("stall", "freeze") else 0.0
        await asyncio.sleep(speed.first_token_seconds + writing + stalled)
        if fault is not None and fault.kind in ("cut", "end"):
            await self.reset_connection()
        if fault is not None and fault.kind == "error":
            raise ServiceFault(500, {})
        envelope = {
            "created": int(self.service.now()),
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "model": deployment.model,
            "system_fingerprint": SYSTEM_FINGERPRINT,
        }
        content = complete_body(answers, fault, envelope, is_azure=self.surface.is_azure)
        self.record.status, self.record.tokens_sent = 200, sum(len(answer.pieces) for answer in answers)
        self.record.finish_reason = content["choices"][0]["finish_reason"]
        return web.json_response(content, headers=self.headers)
