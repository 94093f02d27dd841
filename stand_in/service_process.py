"""One service of the stack as a child process: started, watched, stopped.

What it writes goes into its log; warnings and errors are also passed on. It leads a process group of its own: Ctrl-C
in a terminal reaches the supervisor alone, which stops the services in order, and whatever a dead service has
started dies with it. Its standard input is a pipe that nobody writes to (see `service.py`).
"""

import asyncio
import json
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from stand_in.errors import ServiceFailed
from stand_in.service import STOP_WITH_INPUT

ROOT = Path(__file__).parent.parent  # where `stand_in` is found, whatever folder the supervisor was started in
LOG_LIMIT_BYTES = 20 * 1024 * 1024  # a longer log is put aside when its service starts; one such is kept
LAST_WORDS = 15  # lines shown of a service that does not start
_STDOUT = 1
_LEVEL = re.compile(r"^\S+ \S+ (DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
_LOUD = {"WARNING", "ERROR", "CRITICAL"}


class ServiceProcess(asyncio.SubprocessProtocol):
    """A started service. `key` names it in messages."""

    def __init__(self, key: str, log: Path, warn: Callable[[str], None]) -> None:
        self.key = key
        self.log = log
        self._warn = warn
        if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
            log.replace(log.with_suffix(".log.1"))
        self._file: BinaryIO = log.open("ab", buffering=0)
        self._transport: asyncio.SubprocessTransport | None = None
        self._unfinished: dict[int, bytes] = {}  # the line that each stream is in the middle of
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._loud = False
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()

    @classmethod
    async def start(
        cls,
        key: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        keep_open: Sequence[int],
        warn: Callable[[str], None],
    ) -> "ServiceProcess":
        """Start `python <arguments>`, which inherits the descriptors `keep_open`; it is not ready yet."""
        process = cls(key, log, warn)
        try:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: process,
                sys.executable,
                *arguments,
                env={**environment, STOP_WITH_INPUT: "1", "PYTHONUNBUFFERED": "1"},
                cwd=ROOT,
                pass_fds=tuple(keep_open),
                start_new_session=True,
            )
        except BaseException:
            process._file.close()
            raise
        return process

    @property
    def pid(self) -> int:
        pid = self._running.get_pid()
        assert pid is not None
        return pid

    @property
    def has_ended(self) -> bool:
        return self._ended.done()

    @property
    def _running(self) -> asyncio.SubprocessTransport:
        assert self._transport is not None, "start() returns after connection_made()"
        return self._transport

    async def ready(self, timeout: float) -> None:
        """Return when it has printed its ready line. Raises ServiceFailed when it ends or stays silent instead."""
        await asyncio.wait({self._ready, self._ended}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if self._ready.done():
            return
        what = f"ended ({self.ending()})" if self.has_ended else f"was not ready after {timeout:.0f} s"
        last_words = "".join(f"\n  {line}" for line in self._last_words)
        raise ServiceFailed(f"{self.key} {what} while starting. The end of its log, {self.log}:{last_words}")

    async def ended(self) -> None:
        """Return when it has ended, for whatever reason, and its last words are in the log."""
        await asyncio.shield(self._ended)

    def ending(self) -> str:
        """How it ended, for people."""
        code = self._running.get_returncode()
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    async def stop(self, patience: float) -> bool:
        """Ask it to stop; kill it after `patience` seconds. Whether asking was enough."""
        if self._running.get_returncode() is None:
            self._running.terminate()
        _, pending = await asyncio.wait({self._ended}, timeout=patience)
        if pending:
            self.kill()
        await self.ended()
        return not pending

    def kill(self) -> None:
        """Kill it and whatever it started. Only before it has `ended`: later its id may be another's."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # nothing of it is left, which is what was wanted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._file.write(data)
        *lines, self._unfinished[fd] = (self._unfinished.get(fd, b"") + data).split(b"\n")
        for line in lines:
            self._take(fd, line.decode("utf-8", "replace").rstrip())

    def process_exited(self) -> None:
        self.kill()  # what it started and left behind; it would also hold the pipes open

    def connection_lost(self, exc: Exception | None) -> None:
        for fd, line in self._unfinished.items():
            if line:
                self._take(fd, line.decode("utf-8", "replace"))
        self._file.close()
        self._running.close()
        self._ended.set_result(None)

    def _take(self, fd: int, line: str) -> None:
        if fd == _STDOUT and not self._ready.done() and _is_ready_line(line):
            self._ready.set_result(None)
            return
        self._last_words.append(line)
        level = _LEVEL.match(line)
        if level is not None:
            self._loud = level[1] in _LOUD
        if self._loud and fd != _STDOUT:  # a line without a level, as in a traceback, belongs to the one before it
            self._warn(f"[{self.key}] {line}")


def _is_ready_line(line: str) -> bool:
    """Whether this is the line by which a service says that it accepts connections; apps may print anything else."""
    if not line.startswith("{"):
        return False
    try:
        said = json.loads(line)
    except ValueError:
        return False
    return {"service", "port", "pid"} <= set(said)
