"""Bells: a run that writes is told at once that its turn was stopped, when both are in one process.

The journal decides, and every writer looks at it often enough. A bell only makes it look now; one that nobody hears
(another process writes, or nobody does) changes nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Bells:
    """The bells of a process, by turn."""

    def __init__(self) -> None:
        self._hung: dict[str, list[Callable[[], None]]] = {}

    @contextmanager
    def hung(self, turn_id: str, listen: Callable[[], None]) -> Iterator[None]:
        """Within this context `listen` is called whenever somebody rings for the turn."""
        listeners = self._hung.setdefault(turn_id, [])
        listeners.append(listen)
        try:
            yield
        finally:
            listeners.remove(listen)
            if not listeners:
                self._hung.pop(turn_id, None)

    def ring(self, turn_id: str) -> None:
        for listen in self._hung.get(turn_id, ()):
            listen()
