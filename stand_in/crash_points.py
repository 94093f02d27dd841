"""Crash points: SIGKILL exactly at a commit, just before it takes effect or just after it and before anybody is told.

With `STAND_IN_CRASH_POINTS=1` in its environment, a service looks for `crash.json` in its state folder at every commit:

    {"commit": 3, "when": "after", "pids": [4711]}

commit   which one, counted from 1 since this file is there; left out: none, commits are only counted
when     `before` it takes effect, or `after` it took effect and before its acknowledgement leaves
pids     the processes to kill, for instance the one that waits for the answer; left out: the service itself

The count stands in the file `commits` beside it. When the point is reached `crash.json` becomes `crash.done`, so that a
service that was started again does not die again. Write the file under another name and rename it.

A commit is whatever makes something last: a transaction that changed the blobs, the task hub or the event log, and a
message that was accepted for delivery.
"""

import contextlib
import json
import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

logger = logging.getLogger(__name__)

VARIABLE: Final = "STAND_IN_CRASH_POINTS"
FILE_NAME: Final = "crash.json"
DONE_NAME: Final = "crash.done"
COUNT_NAME: Final = "commits"
When = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """Where to kill whom. `commit` 0 is never reached."""

    commit: int = 0
    when: str = "before"
    pids: tuple[int, ...] | None = None

    @classmethod
    def from_dict(cls, wanted: Any) -> "CrashPoint":
        """Raises ValueError for what is no crash point."""
        if not isinstance(wanted, dict) or not set(wanted) <= {"commit", "when", "pids"}:
            raise ValueError("an object with commit, when and pids is needed")
        commit, when, pids = wanted.get("commit", 0), wanted.get("when", "before"), wanted.get("pids")
        if type(commit) is not int or commit < 0:
            raise ValueError("commit is a whole number")
        if when not in ("before", "after"):
            raise ValueError("when is before or after")
        if pids is not None and not (isinstance(pids, list) and all(type(pid) is int and pid > 0 for pid in pids)):
            raise ValueError("pids is a list of process ids")
        return cls(commit, when, None if pids is None else tuple(pids))


class CrashPoints:
    """The commits of one service, counted; `folder` None means that nobody asked for them."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen: tuple[int, int] | None = None
        self._point: CrashPoint | None = None
        self._count = 0

    def before_commit(self) -> None:
        """To be called when all that is left to do is the commit itself."""
        if self._folder is None:
            return
        self._look(self._folder)
        if self._point is not None:
            self._count += 1
            (self._folder / COUNT_NAME).write_text(str(self._count), encoding="utf-8")
            self._reach("before", self._folder)

    def after_commit(self) -> None:
        """To be called when the commit has taken effect and nobody was told."""
        if self._folder is not None:
            self._reach("after", self._folder)

    def _look(self, folder: Path) -> None:
        path = folder / FILE_NAME
        try:
            stat = path.stat()
        except FileNotFoundError:
            self._seen = self._point = None
            return
        if (stat.st_mtime_ns, stat.st_ino) != self._seen:
            self._seen, self._count = (stat.st_mtime_ns, stat.st_ino), 0
            try:
                self._point = CrashPoint.from_dict(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                self._point = None
                logger.error("%s holds no crash point: %s", path, error)

    def _reach(self, when: When, folder: Path) -> None:
        point = self._point
        if point is None or point.commit != self._count or point.when != when:
            return
        self._point = None
        os.replace(folder / FILE_NAME, folder / DONE_NAME)
        for pid in (os.getpid(),) if point.pids is None else point.pids:
            with contextlib.suppress(ProcessLookupError):  # it died of something else
                os.kill(pid, signal.SIGKILL)


_points = CrashPoints(None)


def watch(state_dir: Path) -> None:
    """From now on this process looks for crash points in this folder, if its environment asks for it."""
    global _points
    _points = CrashPoints(state_dir.absolute() if os.environ.get(VARIABLE) == "1" else None)


def before_commit() -> None:
    """All that is left to do is a commit."""
    _points.before_commit()


def after_commit() -> None:
    """A commit has taken effect and nobody was told."""
    _points.after_commit()
