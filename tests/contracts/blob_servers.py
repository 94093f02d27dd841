"""Blob storage servers as processes of their own: the emulator, and Azurite where it is installed.

`make install-peers` installs Azurite into tests/contracts/node_modules; one on the PATH is taken too.
"""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "devstoreaccount1"
# The key of every storage emulator; it is published, and protects nothing.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
ROOT = Path(__file__).parents[2]
_START_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class BlobServer:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def connection_string(self) -> str:
        return connection_string(self.port)

    def kill(self) -> None:
        """With SIGKILL: nothing is flushed, nobody is told."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def connection_string(port: int, key: str = KEY) -> str:
    return (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};"
        f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
    )


@contextmanager
def run_emulator(state_dir: Path, port: int = 0) -> Iterator[BlobServer]:
    """The stand-in's emulator."""
    command = [sys.executable, "-m", "stand_in.blob_storage", "--port", str(port), "--state-dir", str(state_dir)]
    with _process(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        yield BlobServer(process, ready["port"])


def find_azurite() -> str | None:
    """Azurite's blob service, if it is installed."""
    for folder in (Path(__file__).parent, ROOT):
        local = folder / "node_modules" / ".bin" / "azurite-blob"
        if local.exists():
            return str(local)
    return shutil.which("azurite-blob")


@contextmanager
def run_azurite(command: str, state_dir: Path) -> Iterator[BlobServer]:
    """Azurite with its state on disk, as the emulator has it."""
    port = _free_port()
    arguments = [command, "--blobPort", str(port), "--location", str(state_dir)]
    arguments += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    with _process(arguments, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Azurite did not start (exit code {process.poll()}).")
            time.sleep(0.05)
        yield BlobServer(process, port)


@contextmanager
def _process(command: list[str], stdout: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=stdout, cwd=ROOT) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
