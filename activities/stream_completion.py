"""stream_completion: one attempt at a turn. Reads the journal, claims it, and goes on with the text that is there.

What it returns decides what the orchestrator does:

    {"result": "done", ...}         the journal has its end; what it says
    {"result": "waiting", "for"}    an earlier turn of the conversation still runs
    {"result": "failed", "wait"}    the model failed; the next attempt comes after so many seconds (the journal says so)
    {"result": "not_needed"}        a `look` that came too late: somebody writes

An exception means that the attempt crashed. On Azure the first result to arrive ends the activity, whoever sent it, so
a run that was fenced follows the journal to its end and returns that outcome, not its own.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from azure.durable_functions import DurableOrchestrationClient

from activities.ending import announce_end
from activities.surroundings import Surroundings, surroundings
from chat.attempt_steps import Following, Run, Step, follow_step, next_step
from chat.cancellations import Cancellations
from chat.closing_steps import Closer
from chat.completion import CompletionRequest
from chat.conversation import Prompt, prompt_of
from chat.conversation_order import TurnOrder, may_be_unstarted
from chat.delivery import Delivery
from chat.deployments import Deployments, choose_deployment, wait_after
from chat.errors import MissingSetting, ModelFailure
from chat.failure_policy import FailureClass
from chat.journal import Fold, read_journal
from chat.journal_writer import Decided, Fenced, JournalChanged, JournalWriter, write_end
from chat.outcome import end_of_answer, end_of_failure, end_of_giving_up, end_of_stop
from chat.records import End, Wait
from chat.recovery import ladder_of
from chat.relay import Answer, Relay
from chat.turn import TurnRequest, TurnStatus, conversation_key_of

FOLLOW_EVERY = 0.5
# Earlier turns whose texts may be looked up for a prompt; its budget of characters usually ends sooner.
PROMPT_TURNS = 40

logger = logging.getLogger(__name__)


async def stream_completion(request: dict, client: DurableOrchestrationClient) -> dict:  # type: ignore[type-arg]
    """The activity. `request` is {"turnId", "attempt", "open", "look"?}; annotated as the worker accepts it."""
    return await Attempt(await surroundings(client), request).run()


class Attempt:
    """One run."""

    def __init__(self, around: Surroundings, request: Mapping[str, Any]) -> None:
        self._around = around
        self.turn_id: str = request["turnId"]
        self.number: int = request["attempt"]
        look: Mapping[str, Any] | None = request.get("look")
        self._run = Run(self.number, frozenset(request["open"]), look["position"] if look else None)
        self._writer_id = around.new_id()
        self._deployment = ""
        self._cancellations = Cancellations(self._cancel_response)
        self._relay: Relay | None = None  # of this pass

    async def run(self) -> dict[str, Any]:
        """Read the journal until something is decided; each pass begins with what it says now."""
        try:
            while True:
                self._relay = None
                fold, order = await asyncio.gather(read_journal(self._around.store, self.turn_id), self._order())
                result = await self._step(fold, order)
                if result is not None:
                    self._leave_upstream(fold)
                    break
        except Exception:
            await self._cancellations.finish()
            raise
        await self._cancellations.finish()
        return result

    async def _step(self, fold: Fold, order: TurnOrder) -> dict[str, Any] | None:
        match next_step(fold, self._run):
            case Step.RETURN:
                return await announce_end(fold, self._around)
            case Step.END_STOP:
                await self._end_stop(fold)
                return await announce_end(fold, self._around)
            case Step.NOT_NEEDED:
                return {"result": "not_needed"}
            case Step.FOLLOW:
                await self._follow(fold)
            case Step.GIVE_UP:
                await self._give_up(fold)
            case Step.CLAIM:
                blocking = await order.blocking_turn()
                if blocking is None:
                    return await self._claim_and_answer(fold, order)
                await self._start_if_nobody_did(blocking, order)
                return {"result": "waiting", "for": blocking}
        return None

    async def _end_stop(self, fold: Fold) -> None:
        """The `end` of a stop, and before it who was asked, when the model was stopped before its first text."""
        answer = self._relay.answer_so_far() if self._relay else Answer()
        await write_end(
            self._around.store,
            self.turn_id,
            fold,
            lambda seen: end_of_stop(seen, self._writer_id, self._now(), answer),
            Closer.RUN,
            before=(answer.untold,) if answer.untold else (),
        )

    async def _give_up(self, fold: Fold) -> None:
        message = f"The answer was interrupted {fold.claims} times."
        code = "attempts_exhausted"
        await self._end(fold, lambda seen: end_of_giving_up(seen, code, message, self._writer_id, self._now()))

    async def _start_if_nobody_did(self, earlier: str, order: TurnOrder) -> None:
        """An earlier turn that was begun by a starter that died would keep this one waiting for ever."""
        fold = await order.journal(earlier)
        if may_be_unstarted(fold) and not await self._around.instances.exists(earlier):
            logger.warning("An earlier turn was begun and not started; starting it.", extra={"turn_id": earlier})
            await self._around.instances.start(earlier)

    async def _claim_and_answer(self, fold: Fold, order: TurnOrder) -> dict[str, Any] | None:
        writer = JournalWriter(self._around.store, self.turn_id, fold, self._writer_id, self._around.clock)
        try:
            await writer.claim(self.number)
            self._run = self._run.having_claimed()
            return await self._answer(writer, order)
        except Decided:
            return await self._step(writer.fold, order)
        except Fenced:
            await self._follow(writer.fold)
        except JournalChanged:
            logger.info("Others wrote into the journal; reading it again.", extra={"turn_id": self.turn_id})
        return None

    async def _answer(self, writer: JournalWriter, order: TurnOrder) -> dict[str, Any] | None:
        begin = writer.fold.begin
        assert begin is not None
        around, talk = self._around, begin.conversation_id
        async with Delivery(around.browser, begin.user, self.turn_id, talk, around.line) as delivery:
            delivery.started(writer.fold.generation, self.number)
            request = TurnRequest.from_dict(begin.request)
            prompt = await self._prompt(request, order)
            answer = await self._relayed(writer, delivery, request, prompt)
            answer.delivery_errors = delivery.errors
            result = await self._finish(writer, request, answer)
            if result is not None and writer.fold.waiting:
                delivery.waiting(writer.fold.waiting)
        return result or await announce_end(writer.fold, self._around)

    async def _relayed(self, writer: JournalWriter, delivery: Delivery, request: TurnRequest, prompt: Prompt) -> Answer:
        try:
            model = self._around.model()
        except MissingSetting as missing:
            return Answer(failure=ModelFailure(FailureClass.REFUSED, "missing_setting", str(missing)))
        deployments, history = self._around.deployments, writer.fold.history
        self._deployment = choose_deployment(request.deployment, deployments, history)
        ladder = ladder_of(writer.fold.text, history, self._deployment, deployments)
        relay = self._relay = Relay(writer, delivery, self.number, prompt, self._around.pace, self._around.bells)
        asked = completion_request(request, prompt, self._deployment, deployments)
        return await relay.relay(model, asked, ladder, self._cancellations)

    async def _finish(self, writer: JournalWriter, request: TurnRequest, answer: Answer) -> dict[str, Any] | None:
        """Write down how the stream ended: an `end`, or a `wait` for the next attempt, which is returned."""
        failure, fold = answer.failure, writer.fold
        if failure is None:
            await writer.append(end_of_answer(fold, answer, self._writer_id, self._now()))
            return None
        logger.warning(
            "The model failed: %s (%s, %s)",
            failure.code,
            failure.failure_class.value,
            failure.http_status,
            extra={"turn_id": self.turn_id},
        )
        wait = wait_after(
            failure, self._deployment, request.deployment, self._around.deployments, fold.history, fold.claims
        )
        if wait is None:
            end = end_of_failure(fold, failure, answer, self._writer_id, self._now())
            await writer.append(*([answer.untold] if answer.untold else []), end)
            return None
        until, failure_class = self._now() + round(1000 * wait), failure.failure_class.value
        why = (failure.code, self._now(), failure_class, self._deployment, answer.wasted_tokens)
        await writer.append(Wait(self._writer_id, until, *why))
        return {"result": "failed", "class": failure_class, "code": failure.code, "wait": wait}

    def _leave_upstream(self, fold: Fold) -> None:
        """A turn that ended without its answer leaves no response behind that goes on at the service for nobody."""
        response = fold.history.running_response
        if fold.end and response and fold.status not in (TurnStatus.COMPLETED, TurnStatus.FILTERED):
            self._cancellations.start(response.deployment, response.response_id)

    async def _cancel_response(self, deployment: str, response_id: str) -> None:
        await self._around.model().cancel(deployment, response_id)

    async def _prompt(self, request: TurnRequest, order: TurnOrder) -> Prompt:
        earlier = []
        if order.earlier:
            known = await self._around.instances.conversation(conversation_key_of(self.turn_id))
            earlier = await order.finished_turns(known, PROMPT_TURNS)
        return prompt_of(self._around.system_prompt, earlier, request.prompt)

    async def _follow(self, fold: Fold) -> None:
        """Read along until the outcome is decided, or the claimant was silent for too long: then it may be claimed."""
        time = asyncio.get_running_loop().time
        heard = time()
        while (step := follow_step(fold, time() - heard, self._now(), self._around.silence)) is Following.ON:
            await asyncio.sleep(FOLLOW_EVERY)
            data = await self._around.store.read(conversation_key_of(self.turn_id), self.turn_id, fold.position)
            if fold.apply_bytes(data):
                heard = time()
        if step is Following.TAKE_OVER:
            logger.warning("The run that claimed this turn is silent; taking over.", extra={"turn_id": self.turn_id})
            self._run = self._run.having_found_silence()

    async def _end(self, fold: Fold, make_end: Callable[[Fold], End]) -> None:
        await write_end(self._around.store, self.turn_id, fold, make_end, Closer.RUN)

    async def _order(self) -> TurnOrder:
        ids = await self._around.store.read_order(conversation_key_of(self.turn_id))
        return TurnOrder(self._around.store, ids, self.turn_id)

    def _now(self) -> int:
        return self._around.clock.now()


def completion_request(
    request: TurnRequest, prompt: Prompt, deployment: str, deployments: Deployments
) -> CompletionRequest:
    """What the model is asked in a turn, when this deployment is to answer."""
    is_requested = deployment == request.deployment
    return CompletionRequest(
        messages=prompt.messages,
        deployment=deployment,
        temperature=request.temperature,
        top_p=request.top_p,
        max_tokens=request.max_tokens,
        is_reasoning_model=request.is_reasoning_model if is_requested else deployment in deployments.reasoning,
        background=deployment in deployments.background,
    )
