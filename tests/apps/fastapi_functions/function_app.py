"""An app in FastAPI mode: one function for each thing that a function can ask of the host."""

import asyncio
import logging
import os
import threading

import azure.durable_functions as df
import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response, StreamingResponse

app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)

PIECE_WANTED = asyncio.Event()
SEEN: dict[str, list[str]] = {"stream": [], "timer": [], "waiting": []}


@app.route(route="echo/{*rest}", auth_level=func.AuthLevel.ANONYMOUS)
async def echo(req: Request, context: func.Context) -> JSONResponse:
    return JSONResponse(
        {
            "method": req.method,
            "path": req.url.path,
            "query": req.query_params.multi_items(),
            "route": dict(req.path_params),
            "headers": dict(req.headers),
            "client": list(req.client),
            "body": (await req.body()).decode(),
            "invocation": context.invocation_id,
            "function": context.function_name,
            "trace": context.trace_context.trace_parent,
            "in thread": context.thread_local_storage.invocation_id,
        }
    )


@app.route(route="in_thread", auth_level=func.AuthLevel.ANONYMOUS)
def in_thread(req: Request, context: func.Context) -> dict:
    return {
        "main": threading.current_thread() is threading.main_thread(),
        "same": context.thread_local_storage.invocation_id == context.invocation_id,
    }


@app.route(route="returns/{kind}", auth_level=func.AuthLevel.ANONYMOUS)
async def returns(req: Request):
    kind = req.path_params["kind"]
    if kind == "exception":
        raise ValueError("what the caller must not see")
    return {"dict": {"a": [1, "é"]}, "text": "plain", "number": 5, "none": None, "empty": Response(status_code=204)}[
        kind
    ]


@app.route(route="pieces", auth_level=func.AuthLevel.ANONYMOUS)
async def pieces(req: Request) -> StreamingResponse:
    """The second piece comes only when `next_piece` was called."""

    async def generate():
        yield "first\n"
        await PIECE_WANTED.wait()
        PIECE_WANTED.clear()
        yield "second\n"

    return StreamingResponse(generate(), media_type="text/event-stream")


@app.route(route="next_piece", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def next_piece(req: Request) -> Response:
    PIECE_WANTED.set()
    return Response()


@app.route(route="endless", auth_level=func.AuthLevel.ANONYMOUS)
async def endless(req: Request) -> StreamingResponse:
    async def generate():
        try:
            yield "begun\n"
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            SEEN["stream"].append("cancelled")
            raise

    return StreamingResponse(generate())


@app.route(route="breaks/{when}", auth_level=func.AuthLevel.ANONYMOUS)
async def breaks(req: Request) -> StreamingResponse:
    async def generate():
        if req.path_params["when"] == "later":
            yield "one piece\n"
        raise ValueError("in the stream")
        yield ""

    return StreamingResponse(generate())


@app.route(route="until_file", auth_level=func.AuthLevel.ANONYMOUS)
async def until_file(req: Request) -> Response:
    SEEN["waiting"].append("waits")
    while not os.path.exists(req.query_params["path"]):  # noqa: ASYNC110, ASYNC240 - a test makes the file
        await asyncio.sleep(0.02)
    return Response("the file is there")


@app.route(route="slow", auth_level=func.AuthLevel.ANONYMOUS)
async def slow(req: Request) -> Response:
    await asyncio.sleep(3600)
    return Response("never")


@app.route(route="seen/{what}", auth_level=func.AuthLevel.ANONYMOUS)
async def seen(req: Request) -> list:
    return SEEN[req.path_params["what"]]


@app.route(route="keyed", methods=["GET"])
async def keyed(req: Request) -> Response:
    return Response("opened")


@app.route(route="for_admins", auth_level=func.AuthLevel.ADMIN)
async def for_admins(req: Request) -> Response:
    return Response("opened")


@app.route(route="switched_off", auth_level=func.AuthLevel.ANONYMOUS)
async def switched_off(req: Request) -> Response:
    return Response("on")


@app.route(route="start", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.durable_client_input(client_name="client")
async def start(req: Request, client: df.DurableOrchestrationClient) -> JSONResponse:
    instance_id = await client.start_new("greet", client_input=await req.json())
    links = client.create_http_management_payload(instance_id)
    return JSONResponse(links, status_code=202, headers={"Location": links["statusQueryGetUri"]})


@app.orchestration_trigger(context_name="context")
def greet(context):
    given = context.get_input()
    if given.get("fail"):
        yield context.call_activity("fails", given)
    text = yield context.call_activity("hello", given["name"])
    yield context.call_entity(df.EntityId("counter", "greetings"), "add", 1)
    own = yield context.call_activity("own_status", context.instance_id)
    return {"text": text, "status seen by the activity": own}


@app.activity_trigger(input_name="name")
def hello(name: str) -> str:
    return f"Hello {name}"


@app.activity_trigger(input_name="given")
def fails(given: dict):
    raise ValueError("an activity failed")


async def own_status(instance: str, client: df.DurableOrchestrationClient) -> str:
    status = await client.get_status(instance)
    return status.runtime_status.name


app.activity_trigger(input_name="instance")(app.durable_client_input(client_name="client")(own_status))


@app.entity_trigger(context_name="context")
def counter(context):
    state = context.get_state(lambda: 0) + (context.get_input() or 0)
    context.set_state(state)
    context.set_result(state)


async def on_start(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:
    await client.get_status_all()
    SEEN["timer"].append(f"past due: {timer.past_due}")


app.timer_trigger(arg_name="timer", schedule="%ON_START_SCHEDULE%", run_on_startup=True)(
    app.durable_client_input(client_name="client")(on_start)
)


@app.route(route="negotiate", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.generic_input_binding(
    arg_name="connection", type="signalRConnectionInfo", hub_name="Chat", user_id="{headers.x-user}"
)
async def negotiate(req: Request, connection: str) -> Response:
    return Response(connection, media_type="application/json")


@app.route(route="send", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.generic_output_binding(arg_name="messages", type="signalR", hub_name="{query.hub}")
async def send(req: Request, messages: func.Out[str]) -> Response:
    messages.set((await req.body()).decode())
    if req.query_params.get("raise"):
        raise ValueError("after setting the output")
    return Response("sent")


@app.route(route="log", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def log(req: Request) -> Response:
    logging.info("said by the function: %s", os.environ.get("SECRET_FOR_TESTS", "nothing"))
    await req.body()
    raise RuntimeError("no body in this message")
