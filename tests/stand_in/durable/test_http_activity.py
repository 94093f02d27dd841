"""`call_http`: one request, and its answer as the orchestrator sees it."""

import json
from collections.abc import AsyncIterator

import azure.durable_functions as df
import pytest
from aiohttp import web
from azure.durable_functions import DurableOrchestrationContext as Context

from stand_in.durable.instance import Status
from tests.stand_in.durable.conftest import StartEngine, ended


@pytest.fixture
async def base() -> AsyncIterator[str]:
    """A server that shows what it got."""

    async def show(request: web.Request) -> web.Response:
        shown = {"method": request.method, "type": request.content_type, "body": await request.text()}
        return web.json_response(shown, headers={"X-Own": "1"})

    async def later(request: web.Request) -> web.Response:
        return web.Response(status=202, headers={"Location": str(request.url)})

    app = web.Application()
    app.router.add_route("*", "/show", show)
    app.router.add_route("*", "/later", later)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


def asking_app() -> df.DFApp:
    """An orchestrator that makes the call it is told to make."""
    app = df.DFApp()

    @app.orchestration_trigger(context_name="context")
    def ask(context: Context):
        asked = context.get_input()
        answer = yield context.call_http(asked.get("method", "GET"), asked["url"], asked.get("content"))
        return answer

    return app


async def test_an_answer_comes_with_status_headers_and_text(start_engine: StartEngine, base: str):
    engine = await start_engine(asking_app())
    asked = {"method": "POST", "url": f"{base}/show", "content": {"q": 1}}
    await engine.start_instance("ask", instance_id="one", input_text=json.dumps(json.dumps(asked)))

    answer = json.loads((await ended(engine, "one")).output or "")

    assert answer["statusCode"] == 200
    assert answer["headers"]["X-Own"] == "1"
    assert "Content-Type" not in answer["headers"]
    assert json.loads(answer["content"]) == {"method": "POST", "type": "text/plain", "body": '{"q": 1}'}


async def test_an_accepted_answer_is_the_result_and_is_not_polled(start_engine: StartEngine, base: str):
    engine = await start_engine(asking_app())
    await engine.start_instance("ask", instance_id="one", input_text=json.dumps(json.dumps({"url": f"{base}/later"})))

    assert json.loads((await ended(engine, "one")).output or "")["statusCode"] == 202


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9/", "Connection refused (127.0.0.1:9)"),
        ("not a url", "An invalid request URI was provided."),
    ],
)
async def test_a_failed_call_fails_the_orchestration_with_the_reason(start_engine: StartEngine, url: str, reason: str):
    engine = await start_engine(asking_app())
    await engine.start_instance("ask", instance_id="one", input_text=json.dumps(json.dumps({"url": url})))

    record = await ended(engine, "one")

    assert record.status is Status.FAILED
    assert reason in (record.output or "")
