"""The orchestrator of the search is the app's own: `chat_turn`, replayed over what happened to it.

A course is what the code has come to after a history. Histories after which it stands at the same line with the same
values are one course: they cannot be told apart any more, and so the search stays small.
"""

import json
from collections.abc import Hashable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orchestrators.chat_turn
from tests.model.world import name_of

Happening = tuple[str, str, str]
"""(done | failed | event, a task's id or an event's name, JSON)."""


class Course(NamedTuple):
    """What an orchestration has come to."""

    activities: tuple[tuple[str, str], ...]  # open ones: id, input
    entity: str | None  # input of the entity call that is waited for
    timers: tuple[tuple[str, str], ...]  # open ones: id, why
    over: str  # Completed, Failed or nothing


class Task:
    def __init__(self, name: str, argument: str = "") -> None:
        self.name, self.argument = name, argument
        self.is_completed = self.is_cancelled = False
        self.result: Any = None

    def cancel(self) -> None:
        assert not self.is_completed
        self.is_cancelled = True


class AnyOf(list[Task]):
    """Completed with the first of its tasks."""

    @property
    def is_completed(self) -> bool:
        return any(task.is_completed for task in self)


class Replay:
    """The context of one orchestration, and the engine that replays its history."""

    current_utc_datetime = datetime(2027, 1, 1)

    def __init__(self, turn: int, history: tuple[Happening, ...]) -> None:
        self._turn = turn
        self._tasks: list[Task] = []
        self._events: set[tuple[str, str]] = set()  # came before anybody waited for them
        self._phase = ""
        self.over = ""
        self._steps: Any = orchestrators.chat_turn.chat_turn(self)
        self._awaited: Any = None
        self._send(None)
        for happening in history:
            self._happen(*happening)

    def get_input(self) -> str:
        return name_of(self._turn)

    def set_custom_status(self, status: dict[str, Any]) -> None:
        self._phase = status["phase"]

    def call_activity(self, name: str, argument: dict[str, Any]) -> Task:
        number = argument.get("attempt") or 1 + sum(task.name.startswith(f"{name}:") for task in self._tasks)
        return self._add(Task(f"{name}:{number}", json.dumps(argument)))

    def call_entity(self, entity: Any, operation: str, argument: Any) -> Task:
        return self._add(Task(operation, json.dumps(argument)))

    def create_timer(self, at: datetime) -> Task:
        taken = {task.name for task in self._open()}
        number = next(n for n in range(99) if f"timer:{n}" not in taken)
        grace = getattr(orchestrators.chat_turn, "STOP_GRACE", None)
        graces = grace == at - self.current_utc_datetime and self._phase == "streaming"
        return self._add(Task(f"timer:{number}", "grace" if graces else self._phase))

    def wait_for_external_event(self, name: str) -> Task:
        task = self._add(Task(name))
        for came in [event for event in self._events if event[0] == name]:
            self._events.remove(came)
            task.is_completed, task.result = True, json.loads(came[1])
        return task

    def task_any(self, tasks: list[Task]) -> AnyOf:
        return AnyOf(tasks)

    def _add(self, task: Task) -> Task:
        self._tasks.append(task)
        return task

    def _open(self) -> list[Task]:
        return [task for task in self._tasks if not task.is_completed and not task.is_cancelled]

    def _happen(self, kind: str, name: str, data: str) -> None:
        task = next((task for task in self._open() if task.name == name), None)
        if task is None:
            assert kind == "event", f"{name} is not open"
            self._events.add((name, data))
            return
        task.is_completed = True
        task.result = RuntimeError("crashed") if kind == "failed" else json.loads(data)
        if not self.over and self._awaited.is_completed:
            self._send(None if isinstance(self._awaited, AnyOf) else task.result)

    def _send(self, value: Any) -> None:
        try:
            while True:
                step = self._steps.throw if isinstance(value, Exception) else self._steps.send
                self._awaited = step(value)
                if not self._awaited.is_completed:
                    return
                value = None if isinstance(self._awaited, AnyOf) else self._awaited.result
        except StopIteration:
            self.over = "Completed"
        except RuntimeError:
            self.over = "Failed"

    @property
    def course(self) -> Course:
        tasks = sorted(self._open(), key=lambda task: task.name)
        entity = [task.argument for task in tasks if task.name == "complete_turn"]
        return Course(
            tuple((t.name, t.argument) for t in tasks if t.name.startswith(("stream_", "close_", "write_"))),
            entity[0] if entity else None,
            tuple((t.name, t.argument) for t in tasks if t.name.startswith("timer:")),
            self.over,
        )

    @property
    def standing(self) -> Hashable:
        """Where the code stands, with which values: two replays that are equal in this go on alike."""
        frames, steps = [], self._steps
        while steps is not None and getattr(steps, "gi_frame", None) is not None:
            frame = steps.gi_frame
            frames.append((frame.f_code.co_name, frame.f_lasti, frozen(dict(frame.f_locals))))
            steps = steps.gi_yieldfrom
        return tuple(frames), self.course, frozenset(self._events), self._turn


def frozen(value: Any) -> Hashable:
    """A value of the orchestrator's code as one that can be compared."""
    match value:
        case Replay():
            return "context"
        case Task():
            return value.name, value.is_completed, value.is_cancelled, frozen(value.result)
        case dict():
            return tuple(sorted((str(key), frozen(item)) for key, item in value.items()))
        case list() | tuple():
            return tuple(map(frozen, value))
        case str() | int() | float() | bool() | None | timedelta() | datetime():
            return repr(value)
        case Exception():
            return str(value)
    return type(value).__name__, frozen(vars(value))


class Courses:
    """All courses that were met, numbered; each with one history that leads to it."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._histories: list[tuple[int, tuple[Happening, ...]]] = []
        self._courses: list[Course] = []
        self._next: dict[tuple[int, Happening], int] = {}

    def first(self, turn: int) -> int:
        return self._number(turn, ())

    def after(self, course: int, happening: Happening) -> int:
        known = self._next.get((course, happening))
        if known is None:
            turn, history = self._histories[course]
            known = self._next[course, happening] = self._number(turn, (*history, happening))
        return known

    def __getitem__(self, course: int) -> Course:
        return self._courses[course]

    def _number(self, turn: int, history: tuple[Happening, ...]) -> int:
        replay = Replay(turn, history)
        number = self._numbers.setdefault(replay.standing, len(self._courses))
        if number == len(self._courses):
            self._courses.append(replay.course)
            self._histories.append((turn, history))
        return number

    def cache_clear(self) -> None:
        """Like a memoised function."""
        self.__init__()  # type: ignore[misc]


courses = Courses()
