"""`python -m stand_in.host --app APP_FOLDER --state-dir DIR [--port N] [--enable-auth] [--deliver-late-results]`"""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from stand_in.host.server import start_server
from stand_in.service import run_service

# Functions compute in threads beside the event loop, which would wait 5 ms (Python's default) for each of them.
SWITCH_INTERVAL_S = 0.001


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", dest="app_dir", type=Path, required=True, help="the folder of function_app.py")
    parser.add_argument(
        "--enable-auth", action="store_true", help="ask for keys as Azure does (off, as with `func start`)"
    )
    parser.add_argument(
        "--deliver-late-results",
        action="store_true",
        help="let the first result of an activity count, also that of a run whose lock had expired",
    )


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


if __name__ == "__main__":
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    run_service("host", start_server, add_arguments=_add_arguments, loop_factory=_new_loop)
    logging.shutdown()
    sys.stdout.flush()
    # A plain function that still blocks in its thread would keep the process alive; the real host kills its worker too.
    os._exit(0)
