"""The door: `python -m operations tail` and `python -m operations reconcile`.

Settings come from the environment, as the app has them; `--stack` takes them from a local stack that runs.
"""

import argparse
import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from adapters import clients
from adapters.event_hub_reader import EventHubReader
from adapters.settings import LOCAL_EVENT_HUB
from chat.errors import ChatError, MissingSetting
from operations.reconcile_log import reconcile
from operations.tail_log import tail


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit code: 0 done and sound, 1 something is missing or differs, 2 it could not be done."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # half a character is printed as JSON would escape it
    try:
        if options.stack:
            os.environ.update(_stack_settings())
        return asyncio.run(_run(options))
    except (ChatError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # `| head` has what it wanted; Python would say so once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


async def _run(options: argparse.Namespace) -> int:
    try:
        async with _reader() as reader:
            if options.command == "tail":
                await tail(reader, clients.settings(), options.since, follow=not options.once, as_json=options.json)
                return 0
            journal, calls = clients.journal(), clients.call_store()
            return await reconcile(reader, journal, calls, options.since, options.until, as_json=options.json)
    finally:
        if clients.journal.cache_info().currsize:
            await clients.journal().close()
        if clients.credential.cache_info().currsize:
            await clients.credential().close()


def _reader() -> EventHubReader:
    settings = clients.settings()
    if settings.event_hub_connection:
        return EventHubReader.from_connection_string(settings.event_hub_connection, settings.event_hub_name)
    if settings.event_hub_namespace:
        name = settings.event_hub_name or LOCAL_EVENT_HUB
        return EventHubReader.from_identity(settings.event_hub_namespace, name, clients.credential())
    raise MissingSetting("AZURE_EVENTHUB_CONN_STR")


def _stack_settings() -> dict[str, str]:
    """The app settings of the local stack. Raises ValueError when none runs."""
    asked = subprocess.run(
        [sys.executable, "-m", "stand_in", "status", "--json"], capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        raise ValueError("No local stack is ready: start one with `make run`, or leave --stack out.")
    settings: dict[str, str] = json.loads(asked.stdout)["settings"]
    return settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m operations", description="Look at the log as an operator.")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("tail", help="show log records as they come: latency, tokens, cost")
    show.add_argument("--once", action="store_true", help="end at the newest record, with a summary")
    compare = commands.add_parser(
        "reconcile", help="hold what was accepted against the log, and name what is missing or doubled"
    )
    compare.add_argument("--until", type=_time, default=None, help="default: now")
    for command in (show, compare):
        command.add_argument(
            "--since",
            type=_time,
            default=None,
            help="a time (ISO 8601, UTC unless said otherwise), or 30m, 2h, 7d ago",
        )
        command.add_argument("--json", action="store_true", help="JSON instead of a table")
        command.add_argument("--stack", action="store_true", help="settings of the local stack that runs here")
    return parser


def _time(text: str) -> datetime:
    """A time, or how long ago."""
    units = {"m": "minutes", "h": "hours", "d": "days"}
    if text[:-1].isdecimal() and text[-1] in units:
        return datetime.now(UTC) - timedelta(**{units[text[-1]]: int(text[:-1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 2026-01-31T12:00 or 30m, 2h, 7d ago") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
