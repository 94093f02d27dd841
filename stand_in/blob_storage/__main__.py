"""The blob storage emulator as a process: `python -m stand_in.blob_storage --port 10000 --state-dir DIR`."""

import asyncio
import sys

from stand_in.blob_storage.server import start_server
from stand_in.service import run_service

if __name__ == "__main__":
    if sys.platform != "win32":
        import uvloop  # not built for Windows; there asyncio's own loop serves, at a little over half the rate

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    # The committing thread needs the interpreter's lock twice a commit, and gets it from a busy loop only after this
    # long; with the default of 5 ms, 64 clients that append at once wait a third longer.
    sys.setswitchinterval(0.0005)
    run_service("blob_storage", start_server)
