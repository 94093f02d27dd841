"""A whole stack under test: the real command line as a process, driven from outside as people and tools drive it.

Nothing of it survives: it stops when it is told to, when its context ends, and when the test run itself is killed
(its standard input ends then).
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from stand_in.service import STOP_WITH_INPUT
from stand_in.stack import STOP_SECONDS
from stand_in.state_folder import StackStatus, StateFolder, is_alive

ROOT = Path(__file__).parent.parent
READY_SECONDS = 60.0  # generous: the machine that runs the tests runs other things, too
POLL_SECONDS = 0.02


class RunningStack:
    """`python -m stand_in run APP --free-ports`, from construction until `stop`."""

    def __init__(
        self,
        app: Path,
        state_dir: Path,
        *,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = ("--free-ports",),
        module: str = "stand_in",
    ) -> None:
        self.app = app
        self.state_dir = state_dir
        state_dir.mkdir(parents=True, exist_ok=True)
        self.output_path = state_dir / "console.txt"
        with self.output_path.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "run", str(app), "--state-dir", str(state_dir), *options],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**_neutral(os.environ), **(environment or {}), STOP_WITH_INPUT: "1"},
                start_new_session=True,
            )

    def __enter__(self) -> "RunningStack":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def output(self) -> str:
        """What the command line has printed."""
        return self.output_path.read_text(encoding="utf-8", errors="replace")

    def status(self) -> StackStatus:
        """As `python -m stand_in status --json` prints it."""
        return StateFolder(self.state_dir).status()

    def wait_ready(self, timeout: float = READY_SECONDS) -> StackStatus:
        """Return when every service runs and accepts connections."""
        give_up = time.monotonic() + timeout
        while not (status := self.status()).ready:
            if self.process.poll() is not None:
                raise AssertionError(f"the stack ended with {self.process.returncode}:\n{self.output}")
            if time.monotonic() > give_up:
                raise AssertionError(f"the stack was not ready after {timeout} s:\n{status}\n{self.output}")
            time.sleep(POLL_SECONDS)
        return status

    def address(self, service: str) -> str:
        return self.status().addresses[service]

    @property
    def url(self) -> str:
        """The host's address, without a slash at its end."""
        return self.address("host")

    @property
    def settings(self) -> Mapping[str, str]:
        """The app settings that the stack gave to the app."""
        return self.status().settings

    def pid(self, service: str) -> int:
        return self.status().processes[service]

    def log(self, service: str) -> str:
        return StateFolder(self.state_dir).log_of(service).read_text(encoding="utf-8", errors="replace")

    def kill(self, service: str) -> int:
        """SIGKILL the process of one service; the id it had. Returns when that process is gone."""
        pid = self.pid(service)
        os.kill(pid, signal.SIGKILL)
        self._wait_gone([pid])
        return pid

    def kill_supervisor(self) -> None:
        """SIGKILL the supervisor alone; returns when its services have noticed and are gone, too."""
        pids = [*self.status().processes.values()]
        self.process.kill()
        self.process.wait()
        self._wait_gone(pids)

    def wait_end(self, timeout: float = STOP_SECONDS) -> int:
        """Wait until the command ends by itself; its exit code."""
        return self.process.wait(timeout)

    def stop(self, timeout: float = STOP_SECONDS) -> int:
        """Stop the stack as Ctrl-C does, once; its exit code. Afterwards nothing of it runs."""
        pids = [*self.status().processes.values()]
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGINT)
            return self.process.wait(timeout)
        finally:
            self.process.kill()
            self.process.wait()
            if self.process.stdin is not None:
                self.process.stdin.close()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # as it should be
                    os.killpg(pid, signal.SIGKILL)

    def _wait_gone(self, pids: Sequence[int], timeout: float = STOP_SECONDS) -> None:
        give_up = time.monotonic() + timeout
        while alive := [pid for pid in pids if is_alive(pid)]:
            if time.monotonic() > give_up:
                raise AssertionError(f"still running after {timeout} s: {alive}\n{self.output}")
            time.sleep(POLL_SECONDS)


def _neutral(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what would connect the app to a real service or move the stack: tests say themselves what they want."""
    moved = ("STAND_IN_", "AZURE_", "OPENAI_", "AzureWebJobs", "AzureSignalR")
    return {name: value for name, value in environment.items() if not name.startswith(moved)}
