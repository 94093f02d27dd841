"""Indexes apps one after the other, each in a process of its own: what importing one leaves behind touches no other.

Reads one JSON line `{"app_dir", "settings"}` per app from standard input and writes one JSON line per app. The SDK is
imported once, and each app runs in a fork of this process.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import azure.durable_functions
import azure.functions  # noqa: F401
import fastapi.responses  # noqa: F401 - not the extension: importing that one is the switch under test
import pydantic  # noqa: F401

from stand_in.host.loaded_app import load_app


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _answer(json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            _write({"crashed": status})


def _answer(request: dict[str, Any]) -> None:
    os.chdir(request["app_dir"])
    app = load_app(Path(request["app_dir"]), request["settings"])
    _write(
        {
            "state": "Error" if app.errors else "Running",
            "errors": list(app.errors),
            "indexing_failure": app.indexing_failure,
            "listed": [function.name for function in app.index.functions],
            "in error": {function.name: list(function.errors) for function in app.index.functions if function.errors},
            "served": [function.name for function in app.index.served],
        }
    )


def _write(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
