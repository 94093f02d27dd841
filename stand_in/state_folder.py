"""The state folder of a stack: one folder per service, the logs, and what `status` reads.

The folder belongs to one stack at a time. The lock is a `flock` that the services inherit: it is free when the
supervisor *and* all of its services are gone, so that a stack started after a crash cannot open databases that the
former services are still closing. A lock of a dead stack does not exist.
"""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from stand_in import ports
from stand_in.errors import StateFolderInUse

DEFAULT_NAME = ".local"
LOCK_NAME = "stack.lock"
STATUS_NAME = "stack.json"


@dataclass(frozen=True, slots=True)
class StackStatus:
    """What a running stack says about itself. Holds the app's secrets, so the file is for its owner's eyes."""

    ready: bool
    pid: int
    addresses: Mapping[str, str] = field(default_factory=dict)
    processes: Mapping[str, int] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    configured: Mapping[str, str] = field(default_factory=dict)
    app: str = ""
    logs: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "StackStatus":
        """Another version of the stand-in may have written it: what is not known here is left out."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Where things are in one state folder."""

    path: Path

    def of(self, service_key: str) -> Path:
        return self.path / service_key

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def log_of(self, service_key: str) -> Path:
        return self.logs / f"{service_key}.log"

    def prepare(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)

    def lock(self, patience: float = 10.0) -> int:
        """Take the folder; the descriptor holds it until it and all its copies are closed.

        Waits while services of a stack that has died are still stopping. Raises StateFolderInUse, naming the process.
        """
        self.prepare()
        descriptor = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        give_up = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = int(os.pread(descriptor, 20, 0) or b"0")
                if (holder and is_alive(holder)) or time.monotonic() > give_up:
                    os.close(descriptor)
                    raise StateFolderInUse(
                        f"the state folder {self.path} is in use by the stack with process id {holder}; "
                        f"stop it, or choose another folder with --state-dir"
                    ) from None
                time.sleep(0.05)
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            return descriptor

    def write_status(self, status: StackStatus) -> None:
        """Whole or not at all: a reader never sees half a file."""
        new = self.path / (STATUS_NAME + ".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(status.to_dict(), file, indent=2)
        os.replace(new, self.path / STATUS_NAME)

    def read_status(self) -> StackStatus | None:
        """What the last stack here wrote; None if there never was one or it stopped."""
        try:
            text = (self.path / STATUS_NAME).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return StackStatus.from_dict(json.loads(text))

    def status(self) -> StackStatus:
        """How the stack here is: what it wrote, as far as that is true now.

        Ready means that it says so, all its processes live and all its ports accept connections. `pid` is 0 when no
        stack runs.
        """
        written = self.read_status()
        if written is None or not is_alive(written.pid):
            return StackStatus(ready=False, pid=0)
        alive = {key: pid for key, pid in written.processes.items() if is_alive(pid)}
        complete = alive.keys() == written.ports.keys() and all(map(ports.accepts, written.ports.values()))
        return replace(written, ready=written.ready and complete, processes=alive)

    def remove_status(self) -> None:
        (self.path / STATUS_NAME).unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process with that id runs. One that ended but has not been waited for does not, where /proc tells."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no /proc on this system, or the process ended just now: the next look will tell
        return True
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}  # the name in parentheses may hold anything
