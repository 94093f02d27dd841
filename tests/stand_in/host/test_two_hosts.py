"""Two hosts on one state folder: one works, the other stands by, serves HTTP all the same, and takes over."""

import json
import os
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.stand_in.host.conftest import HostProcess, NewHost

SETTINGS = {
    "PYTHON_ENABLE_INIT_INDEXING": "1",
    "AzureFunctionsJobHost__extensions__durableTask__storageProvider__workItemQueueVisibilityTimeout": "00:00:01.5",
}


def call(url: str, data: bytes | None = None) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=30) as answer:
        return json.loads(answer.read())


def greeted(host: HostProcess, name: str) -> dict[str, Any]:
    """Start through this host, and ask it until the instance is over."""
    started = call(f"{host.url}/api/hello/{name}", b"")
    url = f"{host.url}/runtime/webhooks/durabletask/instances/{started['id']}"
    deadline = time.monotonic() + 30
    while (found := call(url))["runtimeStatus"] not in ("Completed", "Failed"):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    output: dict[str, Any] = found["output"]
    return output


def test_a_host_that_stands_by_serves_and_takes_over(new_host: NewHost, tmp_path: Path):
    state = tmp_path / "shared"
    first = new_host("hello_durable", SETTINGS, state_dir=state)
    second = new_host("hello_durable", SETTINGS, state_dir=state)
    second.wait_for_log("This one stands by")

    # What the one that stands by is asked, the other does.
    assert greeted(second, "Ada") == {"greetings": ["Hello Ada", "こんにちは Ada"], "count": 1}

    # Stopped for longer than its lock holds: the other takes over, and the first finds out when it goes on.
    os.kill(first.process.pid, signal.SIGSTOP)
    second.wait_for_log("The task hub is this host's now.")
    assert greeted(second, "Ada")["count"] == 2
    os.kill(first.process.pid, signal.SIGCONT)
    assert greeted(first, "Ada")["count"] == 3
    first.wait_for_log("Another host works on the task hub now")

    # A host that died is not waited for.
    second.process.kill()
    second.process.wait()
    deadline = time.monotonic() + 20
    while first.log().count("The task hub is this host's now.") < 2:  # the log is both hosts'
        assert time.monotonic() < deadline, first.log()
        time.sleep(0.02)
    assert greeted(first, "Ada")["count"] == 4
