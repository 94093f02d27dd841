"""chat_turn: the steps of a turn, driven one event at a time."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from chat.failure_policy import CRASH_WAITS, MAX_CRASHES
from orchestrators.chat_turn import LOG_WAITS, STOP_GRACE, chat_turn

TURN = "turn-" + "a" * 32 + "-" + "b" * 32
DONE = {
    "result": "done",
    "turn": {"turnId": TURN},
    "summary": {"status": "completed", "error": None},
}
FAILED = DONE | {"summary": {"status": "failed", "error": {"code": "boom", "message": "It did."}}}


class Task:
    def __init__(self, what: str, argument: Any = None) -> None:
        self.what, self.argument = what, argument
        self.is_completed = self.cancelled = False
        self.result: Any = None

    def cancel(self) -> None:
        assert not self.is_completed
        self.cancelled = True


class AnyOf(Task):
    def __init__(self, children: list[Task]) -> None:
        super().__init__("any")
        self.children = children

    @property
    def is_due(self) -> bool:
        return any(child.is_completed for child in self.children)


class Drive:
    """The orchestrator's context and its engine at once: completes tasks when it is told to."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.statuses: list[dict[str, Any]] = []
        self.current_utc_datetime = datetime(2027, 1, 1)
        self._steps = chat_turn(self)
        self.output: Any = None
        self.ended = False
        self._waiting: Any = None
        self._send(None)

    def get_input(self) -> str:
        return TURN

    def set_custom_status(self, status: dict[str, Any]) -> None:
        self.statuses.append(status)

    def call_activity(self, name: str, argument: Any) -> Task:
        return self._add(Task(name, argument))

    def call_entity(self, entity: Any, operation: str, argument: Any) -> Task:
        return self._add(Task(operation, argument))

    def create_timer(self, at: datetime) -> Task:
        return self._add(Task("timer", at - self.current_utc_datetime))

    def wait_for_external_event(self, name: str) -> Task:
        return self._add(Task(name))

    def task_any(self, children: list[Task]) -> AnyOf:
        return AnyOf(list(children))

    def _add(self, task: Task) -> Task:
        self.tasks.append(task)
        return task

    def _send(self, value: Any) -> None:
        try:
            throwing = isinstance(value, Exception)
            self._waiting = self._steps.throw(value) if throwing else self._steps.send(value)
            while isinstance(self._waiting, AnyOf) and self._waiting.is_due:
                self._waiting = self._steps.send(None)
        except StopIteration as stop:
            self.output, self.ended = stop.value, True

    def open(self, what: str) -> list[Task]:
        return [task for task in self.tasks if task.what == what and not task.is_completed and not task.cancelled]

    def complete(self, what: str, result: Any = None) -> None:
        """Complete the oldest open task of this name."""
        task = self.open(what)[0]
        task.is_completed, task.result = True, result
        if task is self._waiting:
            self._send(result)
        elif isinstance(self._waiting, AnyOf) and task in self._waiting.children:
            self._send(None)

    def finish(self) -> None:
        self.complete("complete_turn", True)
        self.complete("write_log_record", True)


def requests(drive: Drive) -> list[dict[str, Any]]:
    return [task.argument for task in drive.tasks if task.what == "stream_completion"]


def test_a_turn_is_answered_told_and_logged() -> None:
    drive = Drive()
    drive.complete("stream_completion", DONE)
    assert drive.open("complete_turn")[0].argument == {"turnId": TURN}
    drive.finish()
    assert drive.output == {"status": "completed", "error": None, "logged": True}
    assert drive.statuses[-1] == {"phase": "logged"}
    assert not drive.open("timer")


def test_a_failed_turn_is_told_and_logged_before_the_instance_fails() -> None:
    drive = Drive()
    drive.complete("stream_completion", FAILED)
    drive.complete("complete_turn", True)
    with pytest.raises(RuntimeError, match="boom"):
        drive.complete("write_log_record", True)


def test_a_failed_model_is_asked_again_after_the_wait() -> None:
    drive = Drive()
    drive.complete("stream_completion", {"result": "failed", "wait": 7.5})
    assert drive.open("timer")[0].argument == timedelta(seconds=7.5)
    # For operators: until when, to the millisecond.
    assert drive.statuses[-1] == {"phase": "waiting", "attempt": 1, "until": "2027-01-01T00:00:07.500Z"}
    drive.complete("timer")
    assert requests(drive)[1] == {"turnId": TURN, "attempt": 2, "open": []}


def test_a_crash_starts_another_run_at_once_and_too_many_close_the_turn() -> None:
    """Later runs wait a little: what they need may be away for longer than they can wait themselves."""
    drive = Drive()
    for wait in (*CRASH_WAITS, None):
        drive.complete("stream_completion", Exception("exited with code 137"))
        if wait:
            assert drive.open("timer")[0].argument == timedelta(seconds=wait)
            drive.complete("timer")
    assert len(requests(drive)) == MAX_CRASHES
    assert CRASH_WAITS[:2] == (0, 0)
    drive.complete("close_turn", FAILED)
    assert drive.open("complete_turn")


def test_a_look_starts_a_second_run_once_and_the_first_result_counts() -> None:
    drive = Drive()
    drive.complete("look-1", '{"position": 99}')
    assert requests(drive)[1] == {"turnId": TURN, "attempt": 2, "open": [1], "look": {"position": 99}}
    assert not drive.open("look-1")
    drive.tasks = [task for task in drive.tasks if task.argument != requests(drive)[0]] + drive.tasks[:1]
    drive.complete("stream_completion", DONE)
    drive.finish()
    assert drive.ended


def test_a_look_that_was_not_needed_leaves_the_other_run_at_work() -> None:
    drive = Drive()
    drive.complete("look-0", {"position": 9})
    first, second = drive.open("stream_completion")
    second.is_completed, second.result = True, {"result": "not_needed"}
    drive._send(None)
    assert len(requests(drive)) == 2
    drive.complete("stream_completion", DONE)
    assert first.is_completed
    drive.finish()


def test_the_pause_after_a_crash_ends_with_a_run_that_ends_the_turn() -> None:
    drive = Drive()
    for _ in range(2):
        drive.complete("stream_completion", Exception("exited with code 137"))
    drive.complete("look-1", {"position": 9})
    drive.complete("stream_completion", Exception("storage is away"))
    assert drive.open("timer")
    drive.complete("stream_completion", DONE)
    assert not drive.open("timer")
    assert len(requests(drive)) == 4
    drive.finish()
    assert drive.ended


def test_a_turn_behind_another_sleeps_until_it_is_woken() -> None:
    drive = Drive()
    drive.complete("stream_completion", {"result": "waiting", "for": "turn-1"})
    assert drive.open("timer")
    drive.complete("ended-turn-1")
    assert not drive.open("timer")
    assert len(requests(drive)) == 2


def test_a_lost_wake_is_made_up_for_by_the_timer_and_the_waiter_is_kept() -> None:
    drive = Drive()
    for _ in range(3):
        drive.complete("stream_completion", {"result": "waiting", "for": "turn-1"})
        drive.complete("timer")
    assert len(drive.open("ended-turn-1")) == 1
    assert len(requests(drive)) == 4


def test_the_log_is_tried_five_times_and_each_try_says_which_it_is() -> None:
    drive = Drive()
    drive.complete("stream_completion", DONE)
    drive.complete("complete_turn", True)
    tries = []
    for wait in LOG_WAITS:
        tries.append(drive.open("write_log_record")[0].argument["try"])
        drive.complete("write_log_record", False)
        assert drive.open("timer")[0].argument == timedelta(seconds=wait)
        drive.complete("timer")
    tries.append(drive.open("write_log_record")[0].argument["try"])
    drive.complete("write_log_record", False)
    assert tries == [0, 1, 2, 3, 4]
    assert drive.output["logged"] is False


def test_a_turn_that_can_neither_be_logged_nor_marked_fails_its_instance_for_the_sweeper_to_find() -> None:
    drive = Drive()
    drive.complete("stream_completion", DONE)
    drive.complete("complete_turn", True)
    for _ in LOG_WAITS:
        drive.complete("write_log_record", Exception("storage is away"))
        drive.complete("timer")
    with pytest.raises(RuntimeError, match="not logged"):
        drive.complete("write_log_record", Exception("storage is away"))


def stopped(drive: Drive) -> None:
    """Somebody stops the turn; the run that comes of it finds the journal's end."""
    drive.complete("stopped")
    drive.complete("stream_completion", DONE)
    drive.finish()


def test_a_stop_ends_the_wait_for_an_earlier_turn() -> None:
    drive = Drive()
    drive.complete("stream_completion", {"result": "waiting", "for": "turn-1"})
    stopped(drive)
    assert drive.ended
    assert not drive.open("timer")
    assert len(requests(drive)) == 2


def test_a_stop_ends_the_wait_that_the_service_asked_for() -> None:
    drive = Drive()
    drive.complete("stream_completion", {"result": "failed", "wait": 600})
    stopped(drive)
    assert drive.ended
    assert not drive.open("timer")


def test_a_stop_ends_the_pause_after_a_crash() -> None:
    drive = Drive()
    for _ in range(2):
        drive.complete("stream_completion", Exception("exited with code 137"))
    drive.complete("stream_completion", Exception("storage is away"))
    assert drive.open("timer")
    stopped(drive)
    assert drive.ended
    assert not drive.open("timer")


def test_a_stop_leaves_a_run_that_is_at_work_to_end_the_turn() -> None:
    drive = Drive()
    drive.complete("stopped")
    assert len(requests(drive)) == 1
    drive.complete("stream_completion", DONE)
    drive.finish()
    assert drive.ended
    assert not drive.open("timer")


def test_a_run_that_does_not_end_a_stopped_turn_is_helped_by_another() -> None:
    """On Azure the activity of a killed worker stays invisible for a while: the turn behind would wait for it."""
    drive = Drive()
    drive.complete("stopped")
    assert drive.open("timer")[0].argument == STOP_GRACE
    drive.complete("timer")
    assert requests(drive)[1] == {"turnId": TURN, "attempt": 2, "open": [1]}
    first = drive.open("stream_completion")[0]
    drive.tasks.remove(first)
    drive.complete("stream_completion", DONE)
    drive.finish()
    assert drive.ended


@pytest.mark.parametrize("result", [{"result": "waiting", "for": "turn-1"}, {"result": "failed", "wait": 600}])
def test_a_stop_that_overtakes_the_result_of_a_run_ends_the_wait_before_it_begins(result: dict[str, Any]) -> None:
    drive = Drive()
    drive.complete("stopped")
    drive.complete("stream_completion", result)
    assert not drive.open("timer")
    assert len(requests(drive)) == 2
    drive.complete("stream_completion", result)
    assert drive.open("timer"), "a second wait is waited, whatever the event was"


def test_a_turn_that_is_stopped_before_its_last_crash_is_closed_without_an_open_timer() -> None:
    drive = Drive()
    for wait in CRASH_WAITS:
        drive.complete("stream_completion", Exception("storage is away"))
        if wait:
            drive.complete("timer")
    drive.complete("stopped")
    assert drive.open("timer")
    drive.complete("stream_completion", Exception("storage is away"))
    assert drive.open("close_turn")
    assert not drive.open("timer")
    drive.complete("close_turn", DONE)
    drive.finish()
    assert drive.ended
