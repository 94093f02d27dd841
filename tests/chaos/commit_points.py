"""Commit points: every durable write of one turn, each struck before it takes effect and after it, before it is told.

The stand-in's services can kill at their n-th commit (`stand_in/crash_points.py`). Victims are the process that makes
the commit, and the host that waits for the answer.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stand_in.crash_points import COUNT_NAME, DONE_NAME, FILE_NAME
from tests.running_stack import RunningStack

COMMITTERS = ("host", "blob", "signalr", "eventHubs")


@dataclass(frozen=True, slots=True)
class CommitPoint:
    """The n-th commit of a service since the question was asked; `victim` is a service, too."""

    service: str
    commit: int
    when: str
    victim: str

    def __str__(self) -> str:
        return f"{self.service}:{self.commit}:{self.when}:{self.victim}"

    @classmethod
    def parse(cls, text: str) -> "CommitPoint":
        """From the text that it prints as. Raises ValueError."""
        service, commit, when, victim = text.split(":")
        if service not in COMMITTERS or when not in ("before", "after") or victim not in (service, "host"):
            raise ValueError(text)
        return cls(service, int(commit), when, victim)


def points(commits: Mapping[str, int]) -> Iterator[CommitPoint]:
    """All of them, given how often each service commits in an undisturbed turn."""
    for service in COMMITTERS:
        for commit in range(1, commits[service] + 1):
            for victim in dict.fromkeys((service, "host")):
                for when in ("before", "after"):
                    yield CommitPoint(service, commit, when, victim)


def spread(every: Sequence[CommitPoint], number: int) -> list[CommitPoint]:
    """So many of them, evenly over the turn and its services."""
    number = min(number, len(every))
    return [every[index * len(every) // number] for index in range(number)]


def count_commits(stack: RunningStack) -> None:
    """From now on each service counts its commits."""
    for service in COMMITTERS:
        _write(stack.state_dir / service, {})


def counted(stack: RunningStack) -> dict[str, int]:
    """The commits since `count_commits`."""
    found = {}
    for service in COMMITTERS:
        path = stack.state_dir / service / COUNT_NAME
        found[service] = int(path.read_text(encoding="utf-8")) if path.exists() else 0
    return found


def arm(stack: RunningStack, point: CommitPoint) -> None:
    """Have this point struck, once."""
    folder = stack.state_dir / point.service
    (folder / DONE_NAME).unlink(missing_ok=True)
    wanted = {"commit": point.commit, "when": point.when, "pids": [stack.pid(point.victim)]}
    _write(folder, wanted)


def disarm(stack: RunningStack) -> None:
    """No more points; what was not reached will not be."""
    for service in COMMITTERS:
        (stack.state_dir / service / FILE_NAME).unlink(missing_ok=True)


def was_reached(stack: RunningStack, point: CommitPoint) -> bool:
    """Whether the armed point was struck."""
    return (stack.state_dir / point.service / DONE_NAME).exists()


def struck_when(stack: RunningStack, point: CommitPoint) -> float:
    """When that was, in seconds since 1970."""
    return (stack.state_dir / point.service / DONE_NAME).stat().st_ctime


def _write(folder: Path, wanted: Mapping[str, object]) -> None:
    (folder / COUNT_NAME).unlink(missing_ok=True)
    new = folder / f"{FILE_NAME}.new"
    new.write_text(json.dumps(wanted), encoding="utf-8")
    os.replace(new, folder / FILE_NAME)
