"""The blob storage emulator as a process: `python -m stand_in.blob_storage --port 10000 --state-dir DIR`."""

import asyncio
import sys

from stand_in.blob_storage.server import start_server
from stand_in.service import run_service

if __name__ == "__main__":
    if sys.platform != "win32":
        import uvloop  # not built for Windows; there asyncio's own loop serves, at a little over half the rate

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    run_service("blob_storage", start_server)
