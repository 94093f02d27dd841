"""chat_turn: the steps of one turn.

    1  stream_completion, again and again until the journal has its end
    2  complete_turn: the conversation is told
    3  write_log_record: one record to Event Hubs

Every execution does all three, also a second one of a turn that has ended: each is idempotent, and "ended" is not
"done". The input is the turn id alone. Events are awaited with one task each, kept until it fires: an abandoned waiter
would swallow a later event. Timers that lost are cancelled: an open one keeps the instance Running.
"""

import json
from collections.abc import Generator
from datetime import timedelta
from typing import Any

from azure.durable_functions import DurableOrchestrationContext, EntityId

from chat.failure_policy import CRASH_WAITS, MAX_CLAIMS, MAX_CRASHES

# Behind the event that wakes a waiting turn, which may get lost: doubling, so that a long wait has a short history.
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=15), timedelta(minutes=5)
WAITS_BEFORE_GIVING_UP = 40
# How long a run that is open may take to end a turn that was stopped, before another is started: it may be dead.
STOP_GRACE = timedelta(seconds=5)
LOG_WAITS = (1, 5, 20, 60)  # seconds between the five tries

Steps = Generator[Any, Any, Any]


def chat_turn(context: DurableOrchestrationContext) -> Steps:
    """The orchestrator. Raises at its end when the turn failed, so that operators find it by its status."""
    turn_id: str = context.get_input()
    ended = yield from Attempts(context, turn_id).run()
    context.set_custom_status({"phase": "answered"})
    conversation = EntityId("conversation", turn_id.split("-")[1])
    yield context.call_entity(conversation, "complete_turn", ended["turn"])
    logged = yield from log(context, turn_id)
    context.set_custom_status({"phase": "logged" if logged else "answered"})
    summary = ended["summary"]
    if summary["status"] == "failed":
        # The code alone: the host logs this, and a provider's message may quote the prompt. The journal has it whole.
        raise RuntimeError(f"The turn failed: {summary['error']['code']}")
    return summary | {"logged": logged}


class Attempts:
    """Step 1: the open runs of stream_completion, and what starts another."""

    def __init__(self, context: DurableOrchestrationContext, turn_id: str) -> None:
        self._context = context
        self._turn_id = turn_id
        self._attempt = 0
        self._crashes = 0
        self._waits = 0
        self._runs: dict[int, Any] = {}
        # Named by the number of claims that a reader has seen: a storm of looks starts one run. Each is awaited once,
        # for the SDK gives an event that came unawaited to every later waiter of its name: a storm would never end.
        self._looks = [context.wait_for_external_event(f"look-{claims}") for claims in range(MAX_CLAIMS + 1)]
        self._endings: dict[str, Any] = {}
        # The journal says that the turn was stopped; this says that there is nothing to wait for any more.
        self._stopped = context.wait_for_external_event("stopped")
        self._is_stopped = False
        self._hurries = False  # the stop came while runs were open: the next wait is not waited
        self._grace: Any = None

    def run(self) -> Steps:
        """Until a run says that the journal has its end; returns what it says."""
        self._start()
        while True:
            yield self._context.task_any([*self._runs.values(), *self._looks, *self._stop_tasks()])
            self._start_looks()
            result = self._finished_run()
            if result is None:
                self._heed_stop()
                continue
            if isinstance(result, Exception):
                self._crashes += 1
                if self._crashes >= MAX_CRASHES:
                    return (yield from self._close())
                yield from self._pause(timedelta(seconds=CRASH_WAITS[self._crashes - 1]), *self._runs.values())
                if not self._is_done():
                    self._start()
            elif result["result"] == "done":
                self._drop_grace()
                return result
            elif not self._runs:  # otherwise another run is still at it
                if result["result"] == "waiting":
                    if self._waits >= WAITS_BEFORE_GIVING_UP:
                        return (yield from self._close())
                    yield from self._wait_for(result["for"])
                elif result["result"] == "failed":
                    yield from self._pause(timedelta(seconds=result["wait"]))
                self._start()

    def _stop_tasks(self) -> list[Any]:
        return [self._stopped] * (not self._is_stopped) + [self._grace] * (self._grace is not None)

    def _heed_stop(self) -> None:
        """Runs are open: they learn of the stop from the journal. Should none of them live, another one is started."""
        if self._stopped.is_completed and not self._is_stopped:
            self._is_stopped = self._hurries = True
            self._grace = self._context.create_timer(self._context.current_utc_datetime + STOP_GRACE)
        elif self._grace is not None and self._grace.is_completed:
            self._start()

    def _drop_grace(self) -> None:
        if self._grace is not None and not self._grace.is_completed:
            self._grace.cancel()
        self._grace = None

    def _start(self, look: dict[str, Any] | None = None) -> None:
        self._drop_grace()
        self._attempt += 1
        request = {"turnId": self._turn_id, "attempt": self._attempt, "open": sorted(self._runs)}
        if look is not None:
            request["look"] = look
        self._context.set_custom_status({"phase": "streaming", "attempt": self._attempt})
        self._runs[self._attempt] = self._context.call_activity("stream_completion", request)

    def _start_looks(self) -> None:
        for look in [look for look in self._looks if look.is_completed]:
            self._looks.remove(look)
            self._start(event_data(look.result))

    def _finished_run(self) -> Any:
        """The result of one run that has finished; an Exception when it crashed; None when none has."""
        for attempt, run in self._runs.items():
            if run.is_completed:
                del self._runs[attempt]
                return run.result
        return None

    def _is_done(self) -> bool:
        """Whether an open run has brought the turn's end meanwhile."""
        runs = [run.result for run in self._runs.values() if run.is_completed]
        return any(isinstance(result, dict) and result["result"] == "done" for result in runs)

    def _wait_for(self, earlier: str) -> Steps:
        self._waits += 1
        self._context.set_custom_status({"phase": "queued", "for": earlier})
        if earlier not in self._endings:
            self._endings[earlier] = self._context.wait_for_external_event(f"ended-{earlier}")
        delay = min(FIRST_WAIT * 2 ** min(self._waits - 1, 10), LONGEST_WAIT)
        yield from self._pause(delay, self._endings[earlier], phase="queued")
        if self._endings[earlier].is_completed:
            del self._endings[earlier]

    def _pause(self, delay: timedelta, *events: Any, phase: str = "waiting") -> Steps:
        """Sleep on a durable timer, or until one of these or a stop comes; a timer that lost is cancelled."""
        hurries, self._hurries = self._hurries, False
        if hurries or delay <= timedelta(0):
            return
        due = self._context.current_utc_datetime + delay
        if phase == "waiting":
            until = due.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
            self._context.set_custom_status({"phase": "waiting", "attempt": self._attempt, "until": until})
        timer = self._context.create_timer(due)
        yield self._context.task_any([timer, *events, *[self._stopped] * (not self._is_stopped)])
        if self._stopped.is_completed:
            self._is_stopped = True
        if not timer.is_completed:
            timer.cancel()

    def _close(self) -> Steps:
        """Give up: the journal gets its `end` from close_turn, which says what really happened."""
        self._drop_grace()
        for _ in range(MAX_CRASHES):
            try:
                return (yield self._context.call_activity("close_turn", {"turnId": self._turn_id}))
            except Exception:  # noqa: BLE001 - the SDK raises bare Exception for a failed activity
                yield from self._pause(timedelta(seconds=10))
        raise RuntimeError("The turn could not be closed: storage is away.")


def log(context: DurableOrchestrationContext, turn_id: str) -> Steps:
    """Step 3: five tries, then the sweeper's. The user has the answer all the while.

    Raises when not even the marker can be left: the sweeper looks after failed instances, too.
    """
    for number in range(len(LOG_WAITS) + 1):
        last = number == len(LOG_WAITS)
        try:
            if (yield context.call_activity("write_log_record", {"turnId": turn_id, "try": number})):
                return True
        except Exception:  # noqa: BLE001 - the SDK raises bare Exception for a failed activity
            context.set_custom_status({"phase": "answered", "logFailures": number + 1})
            if last:
                raise RuntimeError("The turn is not logged, and no marker says so: storage is away.") from None
        if not last:
            yield context.create_timer(context.current_utc_datetime + timedelta(seconds=LOG_WAITS[number]))
    return False


def event_data(data: Any) -> Any:
    """What was sent with an event: the durable client encodes it twice, raw HTTP once."""
    return json.loads(data) if isinstance(data, str) else data
