"""The world of the search: journals, instances, runs and everybody else who takes part, as one value that hashes.

Journals are the real bytes. One step is one operation on storage, queue, engine or hub. What goes wrong (crashes,
messages delivered twice, appends without an answer, rate limits, ...) is spent from a budget, so the search is finite.
"""

from functools import cache
from typing import Any, NamedTuple

from chat import records
from chat.journal import Fold
from chat.records import Record
from chat.turn import conversation_key, turn_id

KEY = conversation_key("owner", "talk")
NOW = 1  # nothing depends on the time but who is taken for silent, and the search decides that by itself
MUCH_LATER = 1_000_000_000

Way = tuple[str, "World"]
"""What happens, in words, and the world after it."""


class Budget(NamedTuple):
    """How often things may still go wrong."""

    crash: int = 0  # a host or a worker dies
    redeliver: int = 0  # a message is delivered again while its run goes on
    timeout: int = 0  # an append is not answered; it is applied now, later or never
    stop: int = 0  # the user stops the turn
    rate: int = 0  # the model refuses or breaks off, and a `wait` is announced
    differ: int = 0  # the model's second answer differs: the text starts again
    cover: int = 0  # the filter wants some of the text back
    alive: int = 0  # the writer says that it still works
    lost: int = 0  # the event that wakes a turn gets lost
    hub: int = 0  # Event Hubs does not take a record, or takes it and says no
    terminate: int = 0  # an operator terminates the instance
    purge: int = 0  # an operator purges a finished instance
    look: int = 0  # a reader finds silence
    early: int = 0  # silence is seen where there is none, a timer fires before there is a reason


class Case(NamedTuple):
    """One small world to be searched whole."""

    name: str
    about: str
    budget: Budget = Budget()
    starters: tuple[tuple[int, str], ...] = ()  # (turn, request) of every POST
    running: tuple[int, ...] = (0,)  # turns that are accepted and started in the first state
    ended: tuple[int, ...] = ()  # turns that ended, were terminated and told nobody
    turns: int = 1
    frames: int = 2
    claims: int = 6  # the limits, which only some cases want to reach
    crashes: int = 8
    waits: int = 40
    faulty: tuple[str, ...] = ("stream_completion", "close_turn", "write_log_record")
    deaths: str = "hw"  # h: hosts (the message comes back), w: workers (the activity fails)
    stoppable: tuple[int, ...] = (0,)
    route_ends: bool = True  # the stop route writes the end where no run does
    rejecting: tuple[int, ...] = ()  # turns that must not queue
    stale: bool = False  # reads of the entity may be some operations behind
    may_fail: tuple[int, ...] = ()  # turns for which `failed` is a fair ending here
    without: frozenset[str] = frozenset()  # what is left out of storage and callers, see rules.py


class Instance(NamedTuple):
    """An orchestration: `course` is what its code has come to, see orchestration.py."""

    status: str = "none"  # none, Running, Completed, Failed, Terminated, purged
    execution: int = 0
    course: int = 0


class Run(NamedTuple):
    """One execution of an activity. `number` is its random id; a holder has the message that is deleted at its end."""

    number: int
    turn: int
    execution: int
    task: str
    stage: str
    attempt: int = 0
    open: frozenset[int] = frozenset()
    look: int | None = None
    polite: bool = True
    position: int = 0
    pending: bytes = b""
    holder: bool = True

    @property
    def activity(self) -> str:
        return self.task.partition(":")[0]

    @property
    def writer(self) -> str:
        return f"run-{self.number}"


class Starter(NamedTuple):
    """One POST. `first` is what it found at position 0; the rest is the app's `Progress`."""

    turn: int
    request: str
    stage: str = "new"
    first: bytes = b""
    placed: bool = False
    admitted: bool | None = None
    started: bool = False
    won: bool = False
    pending: bytes = b""


class Sweep(NamedTuple):
    """The sweeper at one turn."""

    stage: str
    progress: Any
    journal: bytes = b""
    pending: bytes = b""


class World(NamedTuple):
    journals: tuple[bytes | None, ...]
    order: tuple[int, ...]  # turns in the order blob, as appended
    instances: tuple[Instance, ...]
    runs: tuple[Run, ...]
    starters: tuple[Starter, ...]
    sweeps: tuple[Sweep | None, ...]
    stops: tuple[str, ...]  # how far the stop route is: "", wake, end
    conversation: str  # the entity's state, JSON
    mail: tuple[tuple[int, str, int], ...]  # operations on their way to it: turn, input, the execution that waits
    hub: tuple[frozenset[bytes], ...]
    marked: tuple[bool, ...]
    late: tuple[tuple[Any, bytes, int | None], ...]  # appends that may still be applied: turn or "order"
    answered: tuple[frozenset[str], ...]  # what starters were told
    budget: Budget
    wrong: str = ""  # a promise that a step itself found broken

    def fold(self, turn: int) -> Fold:
        return fold_of(self.journals[turn] or b"")

    def put(self, what: str, turn: int, value: Any) -> "World":
        """The world with another value for this turn."""
        values = getattr(self, what)
        changed: dict[str, Any] = {what: (*values[:turn], value, *values[turn + 1 :])}
        return self._replace(**changed)

    def append(self, turn: int, data: bytes) -> "World":
        return self.put("journals", turn, interned((self.journals[turn] or b"") + data))

    def spend(self, what: str) -> "World":
        return self._replace(budget=self.budget._replace(**{what: getattr(self.budget, what) - 1}))

    def change(self, run: Run, **more: Any) -> "World":
        changed = run._replace(**more)
        return self._replace(runs=tuple(changed if other.number == run.number else other for other in self.runs))

    def without(self, run: Run) -> "World":
        return self._replace(runs=tuple(other for other in self.runs if other.number != run.number))

    def broken(self, promise: str) -> "World":
        return self._replace(wrong=promise)

    def is_alive(self, writer: str | None) -> bool:
        return any(run.writer == writer for run in self.runs)


@cache
def name_of(turn: int) -> str:
    """A turn's id."""
    return turn_id(KEY, str(turn), "")


@cache
def interned(journal: bytes) -> bytes:
    """Equal journals are one object: their hash is computed once."""
    return journal


@cache
def fold_of(journal: bytes) -> Fold:
    """The journal, folded by the app. Never to be changed: it is shared."""
    fold = Fold()
    fold.apply_bytes(journal)
    return fold


@cache
def decoded(data: bytes) -> tuple[Record, ...]:
    return tuple(record for record, _ in records.decode(data))


@cache
def sequence(order: tuple[int, ...]) -> tuple[int, ...]:
    """The first occurrence counts."""
    return tuple(dict.fromkeys(order))


@cache
def writers_in(data: bytes) -> frozenset[int]:
    writers = (getattr(record, "writer", None) for record in decoded(data))
    return frozenset(int(writer.removeprefix("run-")) for writer in writers if writer)


def fresh_number(world: World) -> int:
    """The smallest id that nothing carries: "random", and equal worlds stay equal."""
    used = {run.number for run in world.runs}
    for data in (*world.journals, *(late[1] for late in world.late if late[0] != "order")):
        used |= writers_in(data or b"")
    number = 1
    while number in used:
        number += 1
    return number


def try_append(world: World, turn: int, data: bytes, position: int | None) -> list[Way]:
    """An append by somebody alive: ok, moved (HTTP 412), or no answer, after which the sender tries again."""
    if position is not None and position != len(world.journals[turn] or b""):
        return [("moved", world)]
    ways = [("ok", world.append(turn, data))]
    if world.budget.timeout:
        ways.append(("no answer", world.spend("timeout")._replace(late=(*world.late, (turn, data, position)))))
    return ways


def tidy(world: World) -> World:
    """A late conditional append behind whose position the journal has grown will never be applied."""
    if not world.late:
        return world

    def possible(late: tuple[Any, bytes, int | None]) -> bool:
        return late[2] is None or late[2] >= len(world.journals[late[0]] or b"")

    late = tuple(sorted(filter(possible, world.late), key=repr))
    return world if late == world.late else world._replace(late=late)


def at_once(coroutine: Any) -> Any:
    """What a coroutine of the app comes to whose neighbours answer at once."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("It waits for something.")


class Blobs:
    """The journals of a world, as the app reads them."""

    def __init__(self, world: World) -> None:
        self._journals = {name_of(turn): journal for turn, journal in enumerate(world.journals)}

    async def read(self, conversation_key: str, turn: str, start: int = 0) -> bytes:
        return (self._journals[turn] or b"")[start:]


CACHES: list[Any] = [interned, fold_of, decoded, sequence, writers_in]


def forget() -> None:
    """Forget everything that was computed: another rule may hold now."""
    for memory in CACHES:
        memory.cache_clear()
