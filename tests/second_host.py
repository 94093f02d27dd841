"""One more Functions host beside a running stack's own, as a process that may be stopped and continued."""

import json
import os
import signal
import subprocess
import sys
from types import TracebackType

from stand_in.service import STOP_WITH_INPUT
from tests.running_stack import ROOT, RunningStack

STOP_SECONDS = 30.0


class SecondHost:
    """`python -m stand_in host`, ready when constructed; its log is `log`."""

    def __init__(self, stack: RunningStack, *options: str) -> None:
        self.log_path = stack.state_dir / "second-host.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stand_in", "host", "--state-dir", str(stack.state_dir), *options],
                cwd=ROOT,
                env={**os.environ, STOP_WITH_INPUT: "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        while line and not line.startswith('{"service"'):
            line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the second host ended before it was ready:\n{self.log}")
        self.port: int = json.loads(line)["port"]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "SecondHost":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def stop(self) -> None:
        """Continue it, ask it to stop, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
