"""`python -m stand_in.azure_openai --state-dir FOLDER`: this emulator as a process of its own."""

from stand_in.azure_openai.server import start_server
from stand_in.service import run_service

if __name__ == "__main__":
    run_service("azure_openai", start_server)
