"""The supervisor, seen from outside: the real command line with fake services (`fake_stack.py`)."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stand_in import ports
from stand_in.state_folder import StateFolder, is_alive
from tests.running_stack import ROOT, RunningStack

SERVICES = {"blob", "signalr", "eventHubs", "model", "host"}
StartStack = Callable[..., RunningStack]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    return folder


@pytest.fixture
def start(app: Path, tmp_path: Path) -> Iterator[StartStack]:
    stacks: list[RunningStack] = []

    def start_stack(state: str = "state", *options: str, **environment: str) -> RunningStack:
        stack = RunningStack(
            app,
            tmp_path / state,
            environment=environment,
            options=options or ("--free-ports",),
            module="tests.stand_in.fake_stack",
        )
        stacks.append(stack)
        return stack

    yield start_stack
    for stack in stacks:
        stack.stop()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"still waiting for: {what}"
        time.sleep(0.02)


def test_every_service_is_a_process_of_its_own_and_the_host_gets_the_settings(start: StartStack, app: Path):
    (app / "local.settings.json").write_text('{"IsEncrypted": false, "Values": {"A": "file", "B": "file"}}')
    stack = start("state", "--free-ports", B="environment")
    status = stack.wait_ready()

    assert set(status.addresses) == set(status.processes) == SERVICES
    assert len({*status.processes.values(), stack.process.pid}) == 6
    assert status.settings["A"] == "file"
    assert status.settings["B"] == "environment"
    port = status.ports["blob"]
    assert f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;" in status.settings["AzureWebJobsStorage"]
    host = json.loads((stack.state_dir / "host" / "environment.json").read_text())
    assert {name: host.get(name) for name in status.settings} == status.settings
    emulator = json.loads((stack.state_dir / "model" / "environment.json").read_text())
    assert "A" not in emulator
    wait_for(lambda: f"ready: http://127.0.0.1:{status.ports['host']}/" in stack.output, "the line that says ready")


def test_a_killed_service_comes_back_on_the_same_port_and_state(start: StartStack):
    stack = start()
    before = stack.wait_ready()
    for service in SERVICES:
        killed = stack.kill(service)
        after = stack.wait_ready()
        assert after.processes[service] != killed
    assert after.ports == before.ports
    starts = (stack.state_dir / "blob" / "starts").read_text().split()
    assert starts == [str(before.processes["blob"]), str(after.processes["blob"])]
    assert "blob died (killed by SIGKILL); starting it again" in stack.output


def test_whatever_a_killed_service_had_started_dies_with_it(start: StartStack):
    stack = start()
    stack.wait_ready()
    worker = int((stack.state_dir / "host" / "worker").read_text())
    assert is_alive(worker)
    stack.kill("host")
    wait_for(lambda: not is_alive(worker), "the end of the host's worker")


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_host_first_and_then_everything(start: StartStack, signal_number: signal.Signals):
    stack = start()
    status = stack.wait_ready()
    stack.process.send_signal(signal_number)

    assert stack.wait_end() == 0
    stops = (stack.state_dir / "stops").read_text().split()
    assert stops[0] == "host"
    assert set(stops) == SERVICES
    assert not [pid for pid in status.processes.values() if is_alive(pid)]
    assert not stack.status().ready


def test_a_service_that_does_not_listen_is_killed_by_the_second_signal(start: StartStack):
    stack = start("state", "--free-ports", FAKE_HOST="deaf")
    pids = stack.wait_ready().processes.values()
    stack.process.send_signal(signal.SIGINT)
    wait_for(lambda: "stopping (SIGINT)" in stack.output, "the stop")
    stack.process.send_signal(signal.SIGINT)

    assert stack.wait_end(timeout=8) == 0
    assert not [pid for pid in pids if is_alive(pid)]


def test_a_closed_terminal_does_not_keep_the_stack_from_stopping_in_order(app: Path, tmp_path: Path):
    command = [sys.executable, "-m", "tests.stand_in.fake_stack", "run", str(app), "--free-ports"]
    folder = StateFolder(tmp_path / "state")
    with subprocess.Popen([*command, "--state-dir", str(folder.path)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        wait_for(lambda: folder.status().ready, "the stack")
        process.stdout.close()
        process.send_signal(signal.SIGHUP)
        assert process.wait(20) == 0
    assert (folder.path / "stops").read_text().split()[0] == "host"


def test_a_stack_started_by_a_program_ends_with_that_programs_pipe(start: StartStack):
    stack = start()
    pids = stack.wait_ready().processes.values()
    assert stack.process.stdin is not None
    stack.process.stdin.close()
    assert stack.wait_end() == 0
    assert not [pid for pid in pids if is_alive(pid)]


def test_no_service_outlives_a_killed_supervisor_and_the_folder_is_free_again(start: StartStack):
    stack = start()
    stack.wait_ready()
    worker = int((stack.state_dir / "host" / "worker").read_text())
    stack.kill_supervisor()
    assert not stack.status().ready
    wait_for(lambda: not is_alive(worker), "the end of what a service had started")

    again = start()
    assert again.wait_ready().pid == again.process.pid
    assert len((again.state_dir / "blob" / "starts").read_text().split()) == 2


def test_a_stack_started_at_once_after_a_crash_waits_for_the_former_services(start: StartStack):
    """A service that has not noticed yet still has its database open."""
    stack = start("state", "--free-ports", FAKE_MODEL="deaf")
    old = stack.wait_ready().processes["model"]
    stack.process.kill()
    stack.process.wait()
    again = start()
    again.wait_ready()
    assert not is_alive(old)


def test_the_same_state_folder_twice_is_refused_naming_the_process(start: StartStack):
    first = start()
    first.wait_ready()
    second = start()
    assert second.wait_end() == 1
    assert f"in use by the stack with process id {first.process.pid}" in second.output
    assert "--state-dir" in second.output
    assert first.status().ready


def test_two_stacks_run_side_by_side(start: StartStack):
    first, second = start("one"), start("two")
    assert not set(first.wait_ready().ports.values()) & set(second.wait_ready().ports.values())


def test_a_busy_port_is_named_with_its_option_before_anything_starts(start: StartStack):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        stack = start("state", "--free-ports", "--signalr-port", str(port))
        assert stack.wait_end() == 1
    assert f"port {port} is in use; choose another with --signalr-port or --free-ports" in stack.output
    assert not (stack.state_dir / "blob").exists()


def test_ports_are_taken_from_options_and_from_the_environment(start: StartStack):
    one, two = (next(port for port in range(base, base + 500) if ports.is_free(port)) for base in (18000, 19000))
    stack = start("state", "--free-ports", "--blob-port", str(one), STAND_IN_MODEL_PORT=str(two))
    status = stack.wait_ready()
    assert (status.ports["blob"], status.ports["model"]) == (one, two)


def test_an_emulator_stays_away_where_a_real_service_is_configured(start: StartStack, app: Path):
    signalr = "Endpoint=https://real.example;AccessKey=k;Version=1.0;"
    values = {"AzureSignalRConnectionString": signalr, "AzureWebJobsStorage": "UseDevelopmentStorage=true"}
    (app / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    stack = start("state", "--free-ports", AZURE_OPENAI_ENDPOINT="https://real.example")
    status = stack.wait_ready()

    assert set(status.processes) == {"blob", "eventHubs", "host"}
    assert status.configured == {
        "model": "AZURE_OPENAI_ENDPOINT",
        "signalr": "AzureSignalRConnectionString",
    }
    assert status.settings["AzureSignalRConnectionString"] == signalr
    assert status.settings["AZURE_OPENAI_ENDPOINT"] == "https://real.example"
    assert "AZURE_OPENAI_KEY" not in status.settings


def test_a_service_that_does_not_start_stops_the_stack_with_its_last_words(start: StartStack):
    stack = start("state", "--free-ports", FAKE_SIGNALR="dies")
    assert stack.wait_end() == 1
    assert "signalr ended (exit code 1) while starting" in stack.output
    assert "signalr cannot live" in stack.output


def test_a_service_that_keeps_dying_stops_the_stack(start: StartStack):
    stack = start()
    stack.wait_ready()
    for _ in range(4):
        stack.kill("eventHubs")
        stack.wait_ready()
    stack.kill("eventHubs")

    assert stack.wait_end() == 1
    assert "eventHubs died 5 times within 60 s" in stack.output


def test_a_service_that_is_killed_on_purpose_is_started_again_however_often(start: StartStack):
    stack = start("state", "--free-ports", "--keep-restarting")
    stack.wait_ready()
    for _ in range(6):
        stack.kill("eventHubs")
        stack.wait_ready()
    assert len((stack.state_dir / "eventHubs" / "starts").read_text().split()) == 7


def test_without_restart_a_dead_service_stays_down(start: StartStack):
    stack = start("state", "--free-ports", "--no-restart")
    stack.wait_ready()
    stack.kill("model")
    wait_for(lambda: "it stays down (--no-restart)" in stack.output, "the message")
    status = stack.status()
    assert not status.ready
    assert set(status.processes) == SERVICES - {"model"}


def test_warnings_come_to_the_console_and_everything_to_the_log(start: StartStack):
    stack = start()
    stack.wait_ready()
    loud = "[model] 2026-01-01 00:00:00,000 WARNING fake: loud\n[model]   more\n"
    wait_for(lambda: loud in stack.output, "the warning")
    assert "quiet" not in stack.output
    log = stack.log("model")
    assert "INFO fake: quiet" in log
    assert "what an app may print" in log


def test_the_status_command_says_what_is_true(start: StartStack):
    def ask(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stand_in", "status", "--state-dir", str(stack.state_dir), *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    stack = start()
    status = stack.wait_ready()
    answer = ask("--json")
    assert answer.returncode == 0
    document = json.loads(answer.stdout)
    assert document["ready"] is True
    assert set(document["addresses"]) == set(document["processes"]) == SERVICES
    assert document["settings"] == status.settings
    assert str(status.processes["blob"]) in ask().stdout

    stack.stop()
    answer = ask("--json")
    assert answer.returncode == 1
    assert json.loads(answer.stdout)["ready"] is False
    assert "no stack is running" in ask().stdout


def test_the_status_is_not_ready_when_the_file_says_so_but_a_service_is_gone(tmp_path: Path, start: StartStack):
    stack = start()
    status = stack.wait_ready()
    os.kill(status.pid, signal.SIGSTOP)  # so that nobody writes down the truth
    try:
        os.kill(status.processes["blob"], signal.SIGKILL)
        wait_for(lambda: not ports.accepts(status.ports["blob"]), "the port's silence")
        assert not StateFolder(stack.state_dir).status().ready
    finally:
        os.kill(status.pid, signal.SIGCONT)


def test_the_status_file_is_for_its_owner_alone(start: StartStack):
    stack = start()
    stack.wait_ready()
    assert (stack.state_dir / "stack.json").stat().st_mode & 0o077 == 0
