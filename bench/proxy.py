"""The proxy beside the model alone and beside LiteLLM's: added time to first byte, tokens per second and core.

All three answer the same streams of the same model emulator, one after the other in one run, read by the same client.
CPU is that of the proxy's own process with its children (host and app here, LiteLLM's one worker there), per chunk
that it passed on; the emulators around it are not counted.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.bare_model import ask
from bench.figures import Figure, percentile, show
from tests.conftest import deployed_copy
from tests.running_stack import ROOT, RunningStack

LITELLM = "1.108.7"
LITELLM_FOLDER = ROOT / ".local" / "bench" / f"litellm-{LITELLM}"
LITELLM_READY_SECONDS = 120.0
STREAM_COUNTS = (1, 16, 64)
TOKENS = 300
ROUNDS = 3
PROMPT = "#length {characters} #speed 100 #first 0"
BARS = {1: "<= 5 ms", 16: "", 64: "<= 100 ms"}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers chat completions below `url`; `pid` is the process to watch."""

    name: str
    url: str
    key: str
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one target under a number of streams."""

    first_ms: list[float]
    seconds: float  # of the quickest round
    chunks: int
    cpu_seconds: float


async def _measure(target: Target, count: int) -> Measured:
    """Rounds of streams begun at once; the first opens connections and does not count."""
    prompt = PROMPT.format(characters=4 * TOKENS)
    firsts: list[float] = []
    rounds: list[float] = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=300)) as session:
        await asyncio.gather(*(ask(session, target.url, target.key, prompt) for _ in range(count)))
        before = cpu_seconds(target.pid)
        for _ in range(ROUNDS):
            started = time.perf_counter()
            answers = await asyncio.gather(*(ask(session, target.url, target.key, prompt) for _ in range(count)))
            rounds.append(time.perf_counter() - started)
            firsts += [1000 * first for first, _ in answers]
            if any(characters != 4 * TOKENS for _, characters in answers):
                raise AssertionError(f"{target.name} did not pass on whole answers")
        spent = cpu_seconds(target.pid) - before
    return Measured(firsts, min(rounds), ROUNDS * count * TOKENS, spent)


def cpu_seconds(pid: int | None) -> float:
    """Processor time of a process and its children so far."""
    if pid is None:
        return 0.0
    total, waiting = 0.0, [pid]
    while waiting:
        current = waiting.pop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{current}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / TICKS
            for task in Path(f"/proc/{current}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
    return total


@contextlib.contextmanager
def litellm(model_url: str, model_key: str) -> Iterator[Target]:
    """LiteLLM's proxy before the same emulator, one worker, without a database, in an environment of its own."""
    command = _installed_litellm()
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(
            "model_list:\n- model_name: gpt-4o-mini\n  litellm_params:\n    model: openai/gpt-4o-mini\n"
            f"    api_base: {model_url}\n    api_key: {model_key}\n"
            "litellm_settings:\n  telemetry: false\n",
            encoding="utf-8",
        )
        environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
        key = environment["LITELLM_MASTER_KEY"] = "sk-" + secrets.token_hex(16)
        with (Path(folder) / "litellm.txt").open("wb") as output:
            process = subprocess.Popen(
                [command, "--config", config, "--port", str(port), "--host", "127.0.0.1", "--num_workers", "1"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
            )
            try:
                _wait_for_port(port, process)
                yield Target("LiteLLM", f"http://127.0.0.1:{port}/v1", key, process.pid)
            finally:
                process.kill()
                process.wait()


def _installed_litellm() -> Path:
    """Its command, installed from PyPI when it is needed first."""
    command = LITELLM_FOLDER / "bin" / "litellm"
    if not command.exists():
        print(f"Installing LiteLLM {LITELLM} into {LITELLM_FOLDER.relative_to(ROOT)} ...", flush=True)
        shutil.rmtree(LITELLM_FOLDER, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", LITELLM_FOLDER], check=True)
        pip = [str(LITELLM_FOLDER / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, f"litellm[proxy]=={LITELLM}"], check=True)
    return command


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + LITELLM_READY_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > give_up:
            raise AssertionError("LiteLLM's proxy did not start")
        time.sleep(0.2)


def figures_of(measured: dict[tuple[str, int], Measured]) -> list[Figure]:
    """Ours beside LiteLLM's; what the model alone takes is not counted as added."""
    figures = []
    for count in STREAM_COUNTS:
        bare = percentile(measured["model", count].first_ms, 0.5)
        added = {name: [first - bare for first in measured[name, count].first_ms] for name in ("here", "LiteLLM")}
        ours, theirs = (
            f"p50 {percentile(added[name], 0.5):.1f} ms, p99 {percentile(added[name], 0.99):.1f} ms"
            for name in ("here", "LiteLLM")
        )
        figures.append(Figure(f"added time to first byte, {count} streams", ours, f"LiteLLM {theirs}", BARS[count]))
    for count in STREAM_COUNTS:
        rates = {name: count * TOKENS / measured[name, count].seconds for name in ("here", "LiteLLM", "model")}
        peer = f"LiteLLM {rates['LiteLLM']:,.0f}, model alone {rates['model']:,.0f}"
        figures.append(Figure(f"tokens/s, {count} streams", f"{rates['here']:,.0f}", peer))
    per_core = {}
    for count in STREAM_COUNTS:
        for name in ("here", "LiteLLM"):
            per_core[name] = measured[name, count].chunks / measured[name, count].cpu_seconds
        costs = {name: 1_000_000 / rate for name, rate in per_core.items()}
        figures.append(
            Figure(
                f"CPU for 1,000 chunks, {count} streams",
                f"{costs['here']:.0f} ms",
                f"LiteLLM {costs['LiteLLM']:.0f} ms",
                "a fifth of LiteLLM's",
            )
        )
    return figures


def main() -> None:
    """Start a stack and LiteLLM, measure both and the model alone, print the table."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningStack(deployed_copy(Path(folder) / "app"), Path(folder) / "state") as stack,
    ):
        stack.wait_ready()
        settings = stack.settings
        model = Target("model", settings["AZURE_OPENAI_ENDPOINT"] + "/openai/v1", settings["AZURE_OPENAI_KEY"])
        here = Target("here", stack.url + "/openai/v1", settings["PROXY_KEYS"], stack.pid("host"))
        measured: dict[tuple[str, int], Measured] = {}
        for target in (model, here):
            for count in STREAM_COUNTS:
                measured[target.name, count] = asyncio.run(_measure(target, count))
        with litellm(model.url, model.key) as peer:
            for count in STREAM_COUNTS:
                measured["LiteLLM", count] = asyncio.run(_measure(peer, count))
    show("Proxy", figures_of(measured))


if __name__ == "__main__":
    main()
