"""The command line: `python -m stand_in run APP_FOLDER` and `python -m stand_in status`.

Every option is also an environment variable (named in `--help`); the option wins.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from stand_in import local_settings, ports
from stand_in.config import HOST, SERVICES, Plan, Service, app_settings, connections_in
from stand_in.errors import SettingsRefused, StackError
from stand_in.local_settings import LocalSettings
from stand_in.service import STOP_WITH_INPUT, stop_with_input
from stand_in.service_process import ROOT
from stand_in.stack import STOP_SECONDS, Stack, StackOptions
from stand_in.state_folder import DEFAULT_NAME, StateFolder

STATE_DIR_VARIABLE = "STAND_IN_STATE_DIR"
FREE_PORTS_VARIABLE = "STAND_IN_FREE_PORTS"
NO_RESTART_VARIABLE = "STAND_IN_NO_RESTART"
LATE_RESULTS_VARIABLE = "STAND_IN_DELIVER_LATE_RESULTS"
KEEP_RESTARTING_VARIABLE = "STAND_IN_KEEP_RESTARTING"


def main(arguments: Sequence[str] | None = None, services: Sequence[Service] = SERVICES) -> int:
    """Do what the command line says; the exit code."""
    parsed = _parser(services).parse_args(arguments)
    try:
        if parsed.command == "status":
            folder = StateFolder(_state_dir(parsed.state_dir, Path.cwd()))
            return _pid(folder, parsed.pid) if parsed.pid else _status(folder, as_json=parsed.json)
        if parsed.command == "host":
            return _another_host(parsed)
        return _run(parsed, tuple(services))
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser(services: Sequence[Service]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stand_in", description="A local host for Python v2 durable apps.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="run an app with everything around it, until Ctrl-C",
        epilog=f"{STOP_WITH_INPUT}=1 stops the stack when its standard input ends, for programs that start one.",
    )
    run.add_argument("app", type=Path, metavar="APP_FOLDER", help="the folder that holds function_app.py")
    state_help = f"where state and logs are kept (default: {{}}/{DEFAULT_NAME}; environment: {STATE_DIR_VARIABLE})"
    run.add_argument("--state-dir", type=Path, help=state_help.format("APP_FOLDER"))
    run.add_argument(
        "--free-ports",
        action="store_true",
        default=_flag(FREE_PORTS_VARIABLE),
        help=f"take any free port for each service without a port option (environment: {FREE_PORTS_VARIABLE}=1)",
    )
    for service in services:
        run.add_argument(
            service.option,
            type=_port,
            dest=service.key,
            metavar="N",
            help=f"port of {service.title} (default: {service.default_port}; "
            f"environment: {service.environment_variable})",
        )
    _add_late_results(run)
    run.add_argument(
        "--no-restart",
        action="store_true",
        default=_flag(NO_RESTART_VARIABLE),
        help=f"leave a service that died as it is (environment: {NO_RESTART_VARIABLE}=1)",
    )
    run.add_argument(
        "--keep-restarting",
        action="store_true",
        default=_flag(KEEP_RESTARTING_VARIABLE),
        help=f"start a service again at once however often it dies, for those who kill on purpose "
        f"(environment: {KEEP_RESTARTING_VARIABLE}=1)",
    )
    host = commands.add_parser("host", help="run one more Functions host on the state of a stack that runs")
    host.add_argument("--state-dir", type=Path, help=state_help.format("."))
    host.add_argument("--port", type=_port, metavar="N", help="its port (default: a free one)")
    _add_late_results(host)
    status = commands.add_parser("status", help="tell how a stack is; exit code 1 while it is not ready")
    status.add_argument("--state-dir", type=Path, help=state_help.format("."))
    status.add_argument("--json", action="store_true", help="as one JSON object, with the settings given to the app")
    status.add_argument("--pid", metavar="SERVICE", help="only this service's process id, for kill and profilers")
    return parser


def _add_late_results(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--deliver-late-results",
        action="store_true",
        default=_flag(LATE_RESULTS_VARIABLE),
        help="let the first result of an activity count, also that of a run whose lock had expired, as Azure Storage "
        f"does; otherwise it is dropped (environment: {LATE_RESULTS_VARIABLE}=1)",
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 1 to 65535 is needed")
    return int(text)


def _flag(variable: str) -> bool:
    return os.environ.get(variable, "0").lower() not in {"", "0", "false"}


def _state_dir(option: Path | None, base: Path) -> Path:
    chosen = option or Path(os.environ.get(STATE_DIR_VARIABLE) or base / DEFAULT_NAME)
    return chosen.absolute()


def _run(parsed: argparse.Namespace, services: tuple[Service, ...]) -> int:
    app: Path = parsed.app.absolute()
    if not app.is_dir():
        raise SettingsRefused(f"{parsed.app} is not a folder; the folder that holds function_app.py is needed")
    settings = local_settings.read(app, _say)
    for name in local_settings.overridden(settings, os.environ):
        _say(f"{name} is set in the environment, which wins over {local_settings.FILE_NAME}")
    folder = StateFolder(_state_dir(parsed.state_dir, app))
    lock = folder.lock()
    try:
        plan = _plan(parsed, services, settings, app)
        _introduce(app, folder, services, plan)
        options = StackOptions(
            app,
            restart=not parsed.no_restart,
            keep_restarting=parsed.keep_restarting,
            host_arguments=_host_arguments(parsed),
        )
        stack = Stack(services, plan, options, folder, lock, os.environ, _say)
        asyncio.run(_until_signalled(stack))
    finally:
        os.close(lock)
    _say("stopped")
    return 0


def _host_arguments(parsed: argparse.Namespace) -> tuple[str, ...]:
    return ("--deliver-late-results",) if parsed.deliver_late_results else ()


def _plan(parsed: argparse.Namespace, services: tuple[Service, ...], local: LocalSettings, app: Path) -> Plan:
    """Which services run, on which ports, and what the app is told."""
    settings = {**local_settings.effective(local, os.environ), **connections_in(os.environ, services)}
    configured = {service.key: service.replaced_by(settings) for service in services}
    running = [service for service in services if configured[service.key] is None]
    asked = _asked_ports(parsed, services, local)
    chosen = ports.choose(running, asked, free_ports=parsed.free_ports, chance=random.SystemRandom())
    given = {
        **app_settings(services, settings, chosen),
        **local_settings.of_the_platform(local, app, chosen.get(HOST)),
    }
    return Plan(chosen, {key: name for key, name in configured.items() if name}, given)


def _asked_ports(
    parsed: argparse.Namespace, services: tuple[Service, ...], settings: LocalSettings
) -> Mapping[str, int]:
    """Ports by option, else by environment variable, else (for the host) by local.settings.json."""
    asked: dict[str, int] = {}
    for service in services:
        port: int | None = getattr(parsed, service.key)
        text = os.environ.get(service.environment_variable)
        if port is None and text:
            try:
                port = _port(text)
            except argparse.ArgumentTypeError as error:
                raise SettingsRefused(f"{service.environment_variable}: {error}") from error
        if port is None and service.key == HOST and not parsed.free_ports:
            port = settings.http_port
        if port is not None:
            asked[service.key] = port
    return asked


def _introduce(app: Path, folder: StateFolder, services: Sequence[Service], plan: Plan) -> None:
    _say(f"app    {app}")
    _say(f"state  {folder.path}")
    _say(f"logs   {folder.logs}")
    for service in services:
        if service.key in plan.configured:
            _say(f"{service.title}: a real one is configured by {plan.configured[service.key]}, no emulator is started")
    _say(f"starting {', '.join(service.title for service in services if service.key in plan.ports)} ...")


async def _until_signalled(stack: Stack) -> None:
    """Run the stack until a signal asks to stop; a second one does not wait for politeness."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(signal_number: signal.Signals) -> None:
        if stopped.is_set():
            stack.kill()
        else:
            _say(f"stopping ({signal_number.name}) ...")
            stopped.set()

    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signal_number, stop, signal_number)
    stop_with_input(lambda: loop.call_soon_threadsafe(stopped.set), grace=STOP_SECONDS)
    await stack.run(stopped)


def _another_host(parsed: argparse.Namespace) -> int:
    """Become a host beside the stack's own: it stands by until that one is gone or silent for longer than its lease."""
    folder = StateFolder(_state_dir(parsed.state_dir, Path.cwd()))
    status = folder.status()
    if HOST not in status.processes:
        raise StackError(f"no stack with a Functions host is running with its state in {folder.path}")
    arguments = ["--app", status.app, "--state-dir", str(folder.of(HOST)), "--port", str(parsed.port or 0)]
    command = [sys.executable, "-m", "stand_in.host", *arguments, *_host_arguments(parsed)]
    os.chdir(ROOT)
    os.execve(sys.executable, command, {**os.environ, **status.settings})


def _status(folder: StateFolder, *, as_json: bool) -> int:
    status = folder.status()
    if as_json:
        print(json.dumps(status.to_dict(), indent=2))
    elif not status.pid:
        print(f"no stack is running with its state in {folder.path}")
    else:
        print(f"{'ready' if status.ready else 'not ready'}, process {status.pid}, app {status.app}, logs {status.logs}")
        for key, address in status.addresses.items():
            print(f"  {key:<10} {address}  process {status.processes.get(key, 'none')}")
        for key, name in status.configured.items():
            print(f"  {key:<10} configured by {name}")
    return 0 if status.ready else 1


def _pid(folder: StateFolder, service: str) -> int:
    """Print the process id of one service."""
    processes = folder.status().processes
    if service not in processes:
        raise StackError(f"no service {service!r} is running; there are: {', '.join(processes) or 'none'}")
    print(processes[service])
    return 0


def _say(text: str) -> None:
    """Tell whoever looks; a closed terminal or pipe is no reason not to stop in order."""
    try:
        print(text, flush=True)
    except OSError:
        # Nobody looks any more. The interpreter would try once more at exit and end with 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
