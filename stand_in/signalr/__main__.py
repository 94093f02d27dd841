"""`python -m stand_in.signalr`: the emulator as a process of its own."""

from stand_in.service import run_service
from stand_in.signalr.server import start_server

if __name__ == "__main__":
    run_service("signalr", start_server)
