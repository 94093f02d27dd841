"""The map: it loads without a single setting, and says the same as those who repeat a part of it."""

import json
import subprocess
import sys
from typing import Any

from http_triggers.unknown_route import METHODS
from tests.running_stack import ROOT

PRINT_BINDINGS = """
import json, function_app
functions = function_app.app.get_functions()
print(json.dumps({f.get_function_name(): [json.loads(b) for b in f.get_raw_bindings()] for f in functions}))
"""


def loaded(environment: dict[str, str]) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """The app's bindings by function name, and what importing it said on stderr."""
    ran = subprocess.run(
        [sys.executable, "-c", PRINT_BINDINGS], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout), ran.stderr


def test_importing_the_app_needs_no_setting_and_names_those_that_are_missing():
    _, said = loaded({})
    for name in ("AzureWebJobsStorage", "AZURE_OPENAI_ENDPOINT", "AzureSignalRConnectionString", "ALLOW_ANONYMOUS"):
        assert name in said


def test_a_setting_that_cannot_be_understood_does_not_stop_the_app_from_loading():
    _, said = loaded({"TURNS_AT_ONCE": "many"})
    assert "TURNS_AT_ONCE" in said


def test_a_connection_string_that_makes_no_sense_is_named_at_start_and_not_shown():
    secret = "a-piece-of-a-key"
    _, said = loaded({"AzureSignalRConnectionString": secret, "AZURE_EVENTHUB_CONN_STR": secret})
    for name in ("AzureSignalRConnectionString", "AZURE_EVENTHUB_CONN_STR"):
        assert f"The app setting {name} is not" in said
    assert secret not in said
    without_hub = "Endpoint=sb://hub.example;SharedAccessKeyName=name;SharedAccessKey=key"
    assert "AZURE_EVENTHUB_NAME" in loaded({"AZURE_EVENTHUB_CONN_STR": without_hub})[1]


def test_the_routes_that_answer_405_are_the_routes_of_the_map():
    bindings, _ = loaded({})
    triggers = [binding for function in bindings.values() for binding in function if binding["type"] == "httpTrigger"]
    routes = {trigger["route"]: tuple(trigger.get("methods", ())) for trigger in triggers}
    (rest,) = (route for route in routes if route.startswith("{*path"))
    del routes[rest]
    assert routes == METHODS


def test_the_function_that_takes_the_rest_is_the_last_by_name():
    bindings, _ = loaded({})
    http = [name for name, function in bindings.items() if any(b["type"] == "httpTrigger" for b in function)]
    assert max(http, key=str.lower) == "unknown"


def indexed(settings: dict[str, str]) -> tuple[list[str], dict[str, list[str]]]:
    """What the local host serves of the app with these settings, and what it has against which function."""
    script = f"""
import json
from pathlib import Path
from stand_in.host.loaded_app import load_app
index = load_app(Path({str(ROOT)!r}), {settings!r}).index
print(json.dumps([[f.name for f in index.served], {{f.name: list(f.errors) for f in index.functions if f.errors}}]))
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=settings, capture_output=True, text=True, check=True
    )
    served, in_error = json.loads(ran.stdout.splitlines()[-1])
    return served, in_error


def test_without_its_schedule_the_sweeper_is_in_error_by_name_and_the_rest_of_the_app_runs():
    settings = {"PYTHON_ENABLE_INIT_INDEXING": "1"}
    served, in_error = indexed(settings)
    assert "start_turn" in served
    assert list(in_error) == ["sweep_turns"]
    assert "'%SWEEP_SCHEDULE%' does not resolve to a value." in in_error["sweep_turns"][0]
    served, in_error = indexed(settings | {"SWEEP_SCHEDULE": "0 */5 * * * *"})
    assert ("sweep_turns" in served, in_error) == (True, {})
