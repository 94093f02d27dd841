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
from dataclasses import dataclass, field
from typing import Any, Protocol

from azure.durable_functions import DurableOrchestrationClient, EntityId

from adapters import clients
from chat.completion import CompletionRequest
from chat.conversation import Conversation, Prompt, prompt_of
from chat.conversation_order import TurnOrder
from chat.delivery import Browser, Delivery
from chat.failure_policy import MAX_CLAIMS, wait_before_retry
from chat.journal import Fold, JournalStore, read_journal
from chat.journal_writer import Clock, Decided, Fenced, JournalChanged, JournalWriter, write_end
from chat.outcome import end_of_answer, end_of_failure, end_of_giving_up, end_of_stop, told
from chat.records import Wait
from chat.relay import Answer, ChatModel, Pace, Relay
from chat.turn import TurnRequest, conversation_key_of

# A claimant that is silent for this long beyond any wait it announced is taken for dead by its followers.
SILENCE = 30.0
FOLLOW_EVERY = 0.5
# Earlier turns whose texts may be looked up for a prompt; its budget of characters usually ends sooner.
PROMPT_TURNS = 40

logger = logging.getLogger(__name__)


class Instances(Protocol):
    """The durable world, as far as an attempt needs it."""

    async def conversation(self, conversation_key: str) -> Conversation:
        """The entity's state; it can be one operation behind."""

    async def wake(self, turn_id: str, ended_turn_id: str) -> None:
        """Tell a waiting turn that an earlier one has ended. Getting lost is allowed: a timer stands behind it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything an attempt talks to."""

    store: JournalStore
    model: ChatModel
    browser: Browser
    instances: Instances
    clock: Clock
    new_id: Callable[[], str]
    system_prompt: str = ""
    pace: Pace = field(default_factory=Pace)
    silence: float = SILENCE


class DurableInstances:
    """`Instances` through the durable client."""

    def __init__(self, client: DurableOrchestrationClient) -> None:
        self._client = client

    async def conversation(self, conversation_key: str) -> Conversation:
        answer = await self._client.read_entity_state(EntityId("conversation", conversation_key))
        return Conversation.from_dict(answer.entity_state if answer.entity_exists else None)

    async def wake(self, turn_id: str, ended_turn_id: str) -> None:
        try:
            await self._client.raise_event(turn_id, f"ended-{ended_turn_id}", None)
        except Exception as error:  # noqa: BLE001 - the SDK raises bare Exception for an instance that is unknown or over
            logger.info("A waiting turn was not woken: %s", error, extra={"turn_id": turn_id})


async def stream_completion(request: dict, client: DurableOrchestrationClient) -> dict:  # type: ignore[type-arg]
    """The activity. `request` is {"turnId", "attempt", "open", "look"?}; annotated as the worker accepts it."""
    surroundings = Surroundings(
        store=await clients.journal(),
        model=clients.chat_model(),
        browser=clients.signalr(),
        instances=DurableInstances(client),
        clock=clients.clock,
        new_id=clients.new_id,
        system_prompt=clients.settings().system_prompt,
    )
    return await Attempt(surroundings, request).run()


class Attempt:
    """One run."""

    def __init__(self, surroundings: Surroundings, request: Mapping[str, Any]) -> None:
        self._all = surroundings
        self.turn_id: str = request["turnId"]
        self.number: int = request["attempt"]
        self._open_attempts = frozenset(request["open"])
        self._look: Mapping[str, Any] | None = request.get("look")
        self._writer_id = surroundings.new_id()
        self._polite = True

    async def run(self) -> dict[str, Any]:
        """Read the journal until something is decided; each pass begins with what it says now."""
        while True:
            fold = await read_journal(self._all.store, self.turn_id)
            result = await self._step(fold)
            if result is not None:
                return result

    async def _step(self, fold: Fold) -> dict[str, Any] | None:
        if fold.end is None and fold.stop:
            await self._end(fold, lambda seen: end_of_stop(seen, self._writer_id, self._now()))
        if fold.end:
            return await self._done(fold)
        if self._look is not None and fold.position != self._look["position"]:
            return {"result": "not_needed"}
        if self._polite and self._look is None and self._somebody_else_writes(fold):
            await self._follow(fold)
            return None
        if fold.claims >= MAX_CLAIMS:
            message = f"The answer was interrupted {fold.claims} times."
            give_up = "attempts_exhausted"
            await self._end(fold, lambda seen: end_of_giving_up(seen, give_up, message, self._writer_id, self._now()))
            return None
        order = await self._order()
        blocking = await order.blocking_turn()
        if blocking is not None:
            return {"result": "waiting", "for": blocking}
        return await self._claim_and_answer(fold, order)

    def _somebody_else_writes(self, fold: Fold) -> bool:
        """Whether the last claim is of an attempt that may be alive: a later one, or one open beside this."""
        claim = fold.claim
        return claim is not None and (claim.attempt > self.number or claim.attempt in self._open_attempts)

    async def _claim_and_answer(self, fold: Fold, order: TurnOrder) -> dict[str, Any] | None:
        writer = JournalWriter(self._all.store, self.turn_id, fold, self._writer_id, self._all.clock)
        try:
            await writer.claim(self.number)
            return await self._answer(writer, order)
        except Decided:
            return await self._step(writer.fold)
        except Fenced:
            await self._follow(writer.fold)
        except JournalChanged:
            logger.info("Others wrote into the journal; reading it again.", extra={"turn_id": self.turn_id})
        return None

    async def _answer(self, writer: JournalWriter, order: TurnOrder) -> dict[str, Any] | None:
        begin = writer.fold.begin
        assert begin is not None
        async with Delivery(self._all.browser, begin.user, self.turn_id, begin.conversation_id) as delivery:
            delivery.started(writer.fold.generation, self.number)
            request = TurnRequest.from_dict(begin.request)
            prompt = await self._prompt(request, order)
            relay = Relay(writer, delivery, self.number, prompt, self._all.pace)
            answer = await relay.relay(self._all.model, completion_request(request, prompt))
            answer.delivery_errors = delivery.errors
            result = await self._finish(writer, answer)
        return result or await self._done(writer.fold)

    async def _finish(self, writer: JournalWriter, answer: Answer) -> dict[str, Any] | None:
        """Write down how the stream ended: an `end`, or a `wait` for the next attempt, which is returned."""
        failure = answer.failure
        if failure is None:
            await writer.append(end_of_answer(writer.fold, answer, self._writer_id, self._now()))
            return None
        logger.warning(
            "The model failed: %s (%s, %s)",
            failure.code,
            failure.failure_class.value,
            failure.http_status,
            extra={"turn_id": self.turn_id},
        )
        wait = wait_before_retry(failure.failure_class, writer.fold.claims, failure.retry_after)
        if wait is None:
            await writer.append(end_of_failure(writer.fold, failure, answer, self._writer_id, self._now()))
            return None
        until = self._now() + round(1000 * wait)
        await writer.append(Wait(self._writer_id, until, failure.code, self._now()))
        return {"result": "failed", "class": failure.failure_class.value, "code": failure.code, "wait": wait}

    async def _prompt(self, request: TurnRequest, order: TurnOrder) -> Prompt:
        earlier = []
        if order.earlier:
            known = await self._all.instances.conversation(conversation_key_of(self.turn_id))
            earlier = await order.finished_turns(known, PROMPT_TURNS)
        return prompt_of(self._all.system_prompt, earlier, request.prompt)

    async def _follow(self, fold: Fold) -> None:
        """Read along until the journal ends, or its claimant has been silent for too long: then it may be claimed."""
        time = asyncio.get_running_loop().time
        heard = time()
        while fold.end is None:
            waiting = max(0, fold.waiting.until - self._now()) / 1000 if fold.waiting else 0
            if time() - heard > self._all.silence + waiting:
                logger.warning(
                    "The run that claimed this turn is silent; taking over.", extra={"turn_id": self.turn_id}
                )
                self._polite = False
                return
            await asyncio.sleep(FOLLOW_EVERY)
            data = await self._all.store.read(conversation_key_of(self.turn_id), self.turn_id, fold.position)
            if fold.apply_bytes(data):
                heard = time()

    async def _end(self, fold: Fold, make_end: Callable[[Fold], Any]) -> None:
        await write_end(self._all.store, self.turn_id, fold, make_end, give_way=lambda seen: True)

    async def _done(self, fold: Fold) -> dict[str, Any]:
        """The journal has its end: say so to the browsers and to the turn that may wait, return what it says.

        Also in a run that finds the end written already: the one that wrote it may have died before it told anybody.
        """
        assert fold.begin is not None
        assert fold.end is not None
        async with Delivery(self._all.browser, fold.begin.user, self.turn_id, fold.begin.conversation_id) as delivery:
            delivery.ended(fold.generation, fold.end)
            order = await self._order()  # read now: a turn may have been accepted while this one ran
            following = await order.next_turn()
            if following is not None:
                await self._all.instances.wake(following, self.turn_id)
        return {"result": "done"} | told(fold, order.place)

    async def _order(self) -> TurnOrder:
        ids = await self._all.store.read_order(conversation_key_of(self.turn_id))
        return TurnOrder(self._all.store, ids, self.turn_id)

    def _now(self) -> int:
        return self._all.clock.now()


def completion_request(request: TurnRequest, prompt: Prompt) -> CompletionRequest:
    """What the model is asked in a turn."""
    return CompletionRequest(
        messages=prompt.messages,
        deployment=request.deployment,
        temperature=request.temperature,
        top_p=request.top_p,
        max_tokens=request.max_tokens,
        is_reasoning_model=request.is_reasoning_model,
    )
