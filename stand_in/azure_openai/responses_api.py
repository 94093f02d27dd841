"""The Responses API: create (streamed, whole, in the background), retrieve, stream again from a number, cancel, delete.

A background response goes on without its client and can be read by several at once, live or again. Others end with
their connection and are kept, if `store` says so, once they are whole.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from aiohttp import web

from stand_in.azure_openai.access import check_responses_version
from stand_in.azure_openai.answer import build_answer
from stand_in.azure_openai.background_responses import BackgroundResponses, LiveResponse, Reader
from stand_in.azure_openai.completion_request import read_model_name
from stand_in.azure_openai.deployments import Deployment
from stand_in.azure_openai.errors import InvalidRequest, ServiceFault
from stand_in.azure_openai.faults import IN_PRODUCTION, ON_CONNECTION, Fault
from stand_in.azure_openai.model_call import Call, ModelService, Surface
from stand_in.azure_openai.paced_sender import PacedSender
from stand_in.azure_openai.responses_request import ResponsesRequest, parse_responses_request
from stand_in.azure_openai.scripted_model import Script, write_script
from stand_in.azure_openai.stored_response import StoredResponse

PATHS = {Surface.CLASSIC: "/openai/responses", Surface.V1: "/openai/v1/responses", Surface.PLAIN: "/v1/responses"}


class ResponsesApi:
    """The handlers."""

    def __init__(self, service: ModelService, responses: BackgroundResponses) -> None:
        self._service = service
        self._responses = responses

    def add_routes(self, router: web.UrlDispatcher) -> None:
        for surface, path in PATHS.items():
            router.add_post(path, self._handler(CreateCall, surface))
            router.add_get(path + "/{response_id}", self._handler(RetrieveCall, surface))
            router.add_post(path + "/{response_id}/cancel", self._handler(CancelCall, surface))
            router.add_delete(path + "/{response_id}", self._handler(DeleteCall, surface))

    def _handler(
        self, kind: type["ResponsesCall"], surface: Surface
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await kind(self._service, request, surface, self._responses).answer()

        return handle


class ResponsesCall(Call):
    """What the operations share."""

    def __init__(
        self, service: ModelService, request: web.Request, surface: Surface, responses: BackgroundResponses
    ) -> None:
        super().__init__(service, request, surface)
        self.responses = responses

    def check_caller(self) -> None:
        self.record.access, version = self.service.check_caller(self.request, self.surface)
        check_responses_version(version)

    def find(self) -> LiveResponse:
        """The response that the path names."""
        self.check_caller()
        live = self.responses.find(self.request.match_info["response_id"])
        self.record.response_id, self.record.deployment = live.stored.response_id, live.stored.deployment
        return live

    async def find_or_fail(self) -> tuple[LiveResponse, Fault | None]:
        """The response, and the fault that was set from outside for what is done with it."""
        live = self.find()
        return live, await self.meet_fault(self.service.find_deployment(live.stored.deployment))

    def whole(self, live: LiveResponse, status: str | None = None) -> web.Response:
        status = status or live.stored.status(self.service.now())
        self.record.status = 200
        self.record.finish_reason = None if status in ("queued", "in_progress") else status
        return web.json_response(live.events.response(status), headers=self.headers)

    async def break_whole(self, fault: Fault | None) -> None:
        """What a fault of a connection means for an answer that is not streamed."""
        if fault is not None and fault.kind in ("cut", "end"):
            await self.reset_connection()
        if fault is not None and fault.kind == "stall":
            await asyncio.sleep(fault.seconds)

    async def stream(self, live: LiveResponse, first: int, fault: Fault | None) -> web.StreamResponse:
        """The events from number `first` on: those that have been, at once, and the others when they are due."""
        self.record.stream = True
        stored, events = live.stored, live.events
        opening = range(first, events.first_paced)
        response, transport = await self.open_stream(b"".join(events.event(number).data for number in opening))
        # The sender's clock is the event loop's; the response may be older than this connection.
        started = asyncio.get_running_loop().time() - (self.service.now() - stored.created_at)
        sender = PacedSender(transport, stored.speed, started=started)
        reader = Reader(live, max(first, events.first_paced), sender, self.record)
        broken = fault is not None and fault.kind in ON_CONNECTION
        await reader.send(fault.after if fault is not None and broken else None)
        if fault is not None and broken and not live.stopped.is_set():
            if fault.kind == "cut":
                await self.reset_connection()
            if fault.kind == "stall":
                await reader.be_silent(fault.seconds)
                await reader.send()
        self.record.ended_at = self.service.now()
        if reader.next >= events.count or live.stopped.is_set():
            self.record.finish_reason = stored.status(self.record.ended_at)
        await response.write_eof()
        return response


class CreateCall(ResponsesCall):
    """`POST /responses`."""

    kind = "responses.create"

    async def run(self) -> web.StreamResponse:
        self.check_caller()
        raw = await self.read_body()
        deployment = self.service.find_deployment(read_model_name(raw))
        self.record.deployment = deployment.name
        body = parse_responses_request(raw, deployment)
        self.admit_completion(deployment, body.completion)
        messages = body.completion.messages
        script = write_script(messages, drifts=deployment.drifts, schema=body.completion.schema)
        fault = await self.meet_fault(deployment, script)
        live = LiveResponse(self._build(body, deployment, script, fault))
        self.record.response_id = live.stored.response_id
        if body.background:
            return await self._in_background(live, fault)
        return await self._on_connection(live, fault)

    def _build(
        self, body: ResponsesRequest, deployment: Deployment, script: Script, fault: Fault | None
    ) -> StoredResponse:
        answer = build_answer(script, body.completion, deployment)
        return StoredResponse(
            response_id=f"resp_{uuid.uuid4().hex}",
            created_at=self.service.now(),
            deployment=deployment.name,
            model=deployment.name if self.surface.is_azure else deployment.model,
            pieces=tuple(answer.pieces),
            is_cut_short=answer.finish_reason == "length",
            input_tokens=answer.prompt_tokens,
            reasoning_tokens=answer.reasoning_tokens,
            speed=self.speed_of(deployment, script, fault),
            echo=body.echo,
            is_background=body.background,
            is_streamed=body.completion.stream,
            is_kept=body.store,
            production_fault=fault if fault is not None and fault.kind in IN_PRODUCTION else None,
            faults=script.directives.faults,
            fault_key=script.fault_key,
        )

    async def _in_background(self, live: LiveResponse, fault: Fault | None) -> web.StreamResponse:
        stored = live.stored
        self.responses.keep(live)
        self.record.produced = lambda: stored.produced(self.service.now())
        if stored.is_streamed:
            return await self.stream(live, 0, fault)
        await self.break_whole(fault)
        return self.whole(live, "queued")

    async def _on_connection(self, live: LiveResponse, fault: Fault | None) -> web.StreamResponse:
        stored = live.stored
        if stored.is_streamed:
            response = await self.stream(live, 0, fault)
        else:
            await asyncio.sleep(max(0.0, stored.over_at - self.service.now()))
            await self.break_whole(fault)
            if stored.outcome == "failed":
                raise ServiceFault(500, {})
            self.record.tokens_sent = stored.said
            response = self.whole(live, stored.outcome)
        if stored.is_kept and self.record.finish_reason is not None:
            self.responses.keep(live)
        return response


class RetrieveCall(ResponsesCall):
    """`GET /responses/{id}`, also with `stream=true` and `starting_after`."""

    kind = "responses.retrieve"

    async def run(self) -> web.StreamResponse:
        live, fault = await self.find_or_fail()
        stored = live.stored
        if self.request.query.get("stream", "false").lower() != "true":
            await self.break_whole(fault)
            return self.whole(live)
        if not (stored.is_background and stored.is_streamed):
            message = "This response cannot be streamed: it was not created with background=true and stream=true."
            raise InvalidRequest(message, "stream")
        after = self.request.query.get("starting_after", "-1")
        if after != "-1" and not after.isdecimal():
            raise InvalidRequest("Invalid 'starting_after': expected a sequence number.", "starting_after")
        if fault is None:
            fault = self.service.counters.choose(stored.fault_key, stored.faults, stored.deployment, ON_CONNECTION)
            self.record.fault = fault.kind if fault else None
        return await self.stream(live, int(after) + 1, fault)


class CancelCall(ResponsesCall):
    """`POST /responses/{id}/cancel`: asked again, or too late, it changes nothing."""

    kind = "responses.cancel"

    async def run(self) -> web.StreamResponse:
        live, fault = await self.find_or_fail()
        if not live.stored.is_background:
            raise InvalidRequest("Cannot cancel a synchronous response.")
        await self.break_whole(fault)
        self.responses.cancel(live.stored.response_id)
        return self.whole(live)


class DeleteCall(ResponsesCall):
    """`DELETE /responses/{id}`."""

    kind = "responses.delete"

    async def run(self) -> web.StreamResponse:
        response_id = self.find().stored.response_id
        self.responses.delete(response_id)
        self.record.status = 200
        return web.json_response({"id": response_id, "object": "response", "deleted": True}, headers=self.headers)
