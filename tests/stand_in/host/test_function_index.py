"""The indexing rules, with apps whose treatment by the real host and worker is known (`indexing_cases.json`).

Differences that are meant: a single underscore in a binding's name is accepted (hosts from 4.1038 on do), `Union` and
`Literal` are refused with the same error as other non-types, and FastAPI mode without PYTHON_ENABLE_INIT_INDEXING is
refused as newer workers do.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.running_stack import ROOT

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "indexing_cases.json").read_text("utf-8"))

IMPORTS = """
import dataclasses
from typing import *
import azure.durable_functions as df
import azure.functions as func
"""
APP = """
app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
"""
OK = """
@app.route(route="ok")
def ok(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("ok")
"""
FASTAPI = """
from azurefunctions.extensions.http.fastapi import PlainTextResponse, Request
"""
FASTAPI_OK = """
@app.route(route="ok")
async def ok(req: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")
"""
PROLOGUES = {
    "none": "",
    "durable": IMPORTS + APP + OK,
    "future": "from __future__ import annotations\n" + IMPORTS + APP + OK,
    "fastapi": IMPORTS + FASTAPI + APP + FASTAPI_OK,
    "fastapi without functions": IMPORTS + FASTAPI + APP,
}
DURABLE_HOST = {"version": "2.0", "extensions": {"durableTask": {"hubName": "IndexHub"}}}


class Indexer:
    """Asks `index_apps` what becomes of an app."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stand_in.host.index_apps"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def index(
        self, code: str | None, *, settings: dict[str, str] | None = None, host_json: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        self._count += 1
        app_dir = self._folder / f"app{self._count}"
        app_dir.mkdir()
        if code is not None:
            (app_dir / "function_app.py").write_text(code, "utf-8")
        (app_dir / "host.json").write_text(json.dumps(host_json or DURABLE_HOST), "utf-8")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"app_dir": str(app_dir), "settings": settings or {}}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=10)


@pytest.fixture(scope="module")
def indexer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Indexer]:
    indexer = Indexer(tmp_path_factory.mktemp("apps"))
    yield indexer
    indexer.close()


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_an_app_is_indexed_as_the_real_host_does(indexer: Indexer, case: dict[str, Any]) -> None:
    code = PROLOGUES[case["prologue"]] + "\n" + case["code"]

    seen = indexer.index(code, settings=case.get("settings"), host_json=case.get("host.json"))

    assert seen["state"] == case["state"], seen["errors"]
    if "fails with" in case:
        assert (seen["indexing_failure"] or "").startswith(case["fails with"])
    else:
        assert seen["indexing_failure"] is None
    if "listed" in case:
        assert seen["listed"] == case["listed"]
    assert sorted(seen["in error"]) == sorted(case["in error"])


def test_a_failure_names_the_function_and_the_binding(indexer: Indexer) -> None:
    code = PROLOGUES["durable"] + "\n@app.activity_trigger(input_name='value')\ndef act(value: dict[str, int]): ..."

    seen = indexer.index(code)

    assert "cannot load the act function" in seen["indexing_failure"]
    assert "binding value" in seen["indexing_failure"]


def test_a_binding_that_the_stand_in_lacks_is_refused_by_name(indexer: Indexer) -> None:
    code = PROLOGUES["durable"] + (
        "\n@app.queue_trigger(arg_name='m', queue_name='q', connection='AzureWebJobsStorage')"
        "\ndef q(m: func.QueueMessage): ..."
    )

    seen = indexer.index(code)

    assert seen["in error"]["q"] == [
        "function q: binding type queueTrigger is not supported by the stand-in; see stand_in/README.md"
    ]
    assert seen["served"] == ["ok"]


def test_disabled_and_left_out_functions_are_listed_but_not_served(indexer: Indexer) -> None:
    code = PROLOGUES["durable"] + "".join(
        f"\n@app.route(route='{n}')\ndef {n}(req: func.HttpRequest) -> func.HttpResponse: ...\n" for n in ("d", "e")
    )
    host = {"version": "2.0", "functions": ["OK", "d"]}

    seen = indexer.index(code, settings={"AzureWebJobs.d.Disabled": "True"}, host_json=host)

    assert seen["listed"] == ["d", "e", "ok"]
    assert seen["served"] == ["ok"]


def test_functions_are_sorted_as_upper_case_names(indexer: Indexer) -> None:
    """An underscore comes after letters then; routes are tried in this order."""
    code = PROLOGUES["durable"] + "".join(
        f"\n@app.route(route='{n}')\ndef {n}(req: func.HttpRequest) -> func.HttpResponse: ...\n"
        for n in ("a_b", "abc", "Zed")
    )

    assert indexer.index(code)["listed"] == ["abc", "a_b", "ok", "Zed"]


def test_of_two_functions_with_one_route_the_later_is_in_error(indexer: Indexer) -> None:
    code = PROLOGUES["durable"] + (
        "\n@app.route(route='x/{a}', methods=['GET'])\ndef first(req: func.HttpRequest) -> func.HttpResponse: ..."
        "\n@app.route(route='X/{a}', methods=['GET', 'PUT'])\ndef next(req: func.HttpRequest) -> func.HttpResponse: ..."
        "\n@app.route(route='x/{a}', methods=['POST'])\ndef other(req: func.HttpRequest) -> func.HttpResponse: ..."
    )

    seen = indexer.index(code)

    assert list(seen["in error"]) == ["next"]
    assert "first" in seen["in error"]["next"][0]


@pytest.mark.parametrize("route", ["admin/x", "administration", "/runtime/x", "RuntimeInfo"])
def test_routes_of_the_host_are_reserved(indexer: Indexer, route: str) -> None:
    code = PROLOGUES["durable"] + (
        f"\n@app.route(route='{route}')\ndef b(req: func.HttpRequest) -> func.HttpResponse: ..."
    )

    seen = indexer.index(code, host_json={"version": "2.0", "extensions": {"http": {"routePrefix": ""}}})

    assert list(seen["in error"]) == ["b"]


def test_a_folder_without_a_script_has_no_functions(indexer: Indexer) -> None:
    seen = indexer.index(None)

    assert (seen["state"], seen["listed"], seen["indexing_failure"]) == ("Running", [], None)
