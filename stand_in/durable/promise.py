"""Promises that settle at once, depth first.

The numbers that a replay hands out depend on the order in which waiting code goes on. In the extension it goes on
synchronously, inside the processing of one history event; asyncio would put a tick between, and other numbers would
come out. So a replay has its own promises, and its coroutines are plain generators that yield what they wait for.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any


class TaskFailure(Exception):
    """What was waited for failed; the arguments are what user code will see."""

    def __init__(self, reason: str | None, details: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details


class Promise:
    """A result that may be there already. Once settled it never changes."""

    __slots__ = ("_callbacks", "failure", "settled", "value")

    def __init__(self) -> None:
        self.settled = False
        self.value: Any = None
        self.failure: TaskFailure | None = None
        self._callbacks: list[Callable[[Promise], None]] = []

    def resolve(self, value: Any = None) -> None:
        """It came out well."""
        self._settle(value, None)

    def reject(self, failure: TaskFailure) -> None:
        """It failed."""
        self._settle(None, failure)

    def when_settled(self, callback: Callable[["Promise"], None]) -> None:
        """Call back now or as soon as it is settled."""
        if self.settled:
            callback(self)
        else:
            self._callbacks.append(callback)

    def _settle(self, value: Any, failure: TaskFailure | None) -> None:
        if self.settled:
            return
        self.settled, self.value, self.failure = True, value, failure
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


Routine = Generator[Promise, Any, Any]


def run(routine: Routine) -> Promise:
    """Run a generator up to the first thing that is not there yet; its own end settles the promise."""
    promise = Promise()
    _advance(routine, promise, None)
    return promise


def _advance(routine: Routine, promise: Promise, waited: Promise | None) -> None:
    while True:
        try:
            if waited is None:
                waited = next(routine)
            elif waited.failure is not None:
                waited = routine.throw(waited.failure)
            else:
                waited = routine.send(waited.value)
        except StopIteration as stop:
            promise.resolve(stop.value)
            return
        except TaskFailure as failure:
            promise.reject(failure)
            return
        if not waited.settled:
            waited.when_settled(lambda settled: _advance(routine, promise, settled))
            return


def when_all(children: Sequence[Promise]) -> Promise:
    """Settled when every child is; failed if one failed."""
    combined = Promise()
    open_children = [child for child in children if not child.settled]
    left = len(open_children)

    def settle(_: Promise | None = None) -> None:
        failure = next((child.failure for child in children if child.failure is not None), None)
        if failure is None:
            combined.resolve()
        else:
            combined.reject(failure)

    def count(child: Promise) -> None:
        nonlocal left
        left -= 1
        if not left:
            settle()

    if not open_children:
        settle()
    for child in open_children:
        child.when_settled(count)
    return combined


def when_any(children: Sequence[Promise]) -> Promise:
    """Settled when the first child is, well or not."""
    combined = Promise()
    for child in children:
        child.when_settled(lambda _: combined.resolve())
    if not children:
        combined.resolve()
    return combined
