"""A host under test: the real command line as a process, with one of the apps in `tests/apps`."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.running_stack import ROOT

APPS = ROOT / "tests" / "apps"
READY_SECONDS = 60.0
NEUTRAL = ("PATH", "HOME", "LANG", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "VIRTUAL_ENV")


class HostProcess:
    """`python -m stand_in.host --app APP`, ready when constructed. Its log is in `log()`."""

    def __init__(
        self, app_dir: Path, state_dir: Path, settings: Mapping[str, str], arguments: Sequence[str] = ()
    ) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self.state_dir = state_dir
        self._log_path = state_dir / "host.log"
        environment = {name: os.environ[name] for name in NEUTRAL if name in os.environ}
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "stand_in.host",
                    "--app",
                    str(app_dir),
                    "--state-dir",
                    str(state_dir),
                    *arguments,
                ],
                cwd=ROOT,
                env={**environment, "PYTHONDONTWRITEBYTECODE": "1", **settings},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the host ended before it was ready:\n{self.log()}")
        self.port: int = json.loads(line)["port"]
        self.url = f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        return self._log_path.read_text("utf-8", "replace")

    def wait_for_log(self, text: str, seconds: float = 20.0) -> None:
        """Return when the text is in the log."""
        deadline = time.monotonic() + seconds
        while text not in self.log():
            assert time.monotonic() < deadline, f"{text!r} is not in the log:\n{self.log()}"
            time.sleep(0.02)

    def stop(self) -> int:
        """Ask politely and wait; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()


NewHost = Callable[..., HostProcess]


@contextlib.contextmanager
def hosts(folder: Path) -> Iterator[NewHost]:
    """Starts hosts, and stops them all at the end."""
    running: list[HostProcess] = []

    def start(
        app: str | Path,
        settings: Mapping[str, str] | None = None,
        *arguments: str,
        state_dir: Path | None = None,
    ) -> HostProcess:
        app_dir = app if isinstance(app, Path) else APPS / app
        host = HostProcess(app_dir, state_dir or folder / f"state{len(running)}", settings or {}, arguments)
        running.append(host)
        return host

    try:
        yield start
    finally:
        for host in running:
            host.stop()


@pytest.fixture
def new_host(tmp_path: Path) -> Iterator[NewHost]:
    with hosts(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def new_shared_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewHost]:
    with hosts(tmp_path_factory.mktemp("hosts")) as start:
        yield start
