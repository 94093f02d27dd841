"""The emulator as a process: `python -m stand_in.event_hubs --state-dir DIR [--port N]`."""

from stand_in.event_hubs.server import start_server
from stand_in.service import run_service

run_service("event_hubs", start_server)
