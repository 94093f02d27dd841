"""The map of the app: every function, what triggers it, and where its code is.

The same file runs on Azure Functions and on the local stand-in; only settings differ.
"""

import logging

import azure.durable_functions as df
import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response

from activities.close_turn import close_turn
from activities.stream_completion import stream_completion
from activities.write_log_record import write_log_record
from adapters import clients
from entities.conversation import conversation
from http_triggers import (
    completions_proxy,
    conversations,
    frames,
    health,
    negotiate,
    pages,
    stop,
    turns,
    tutorial,
    unknown_route,
)
from orchestrators.chat_turn import chat_turn
from timer_triggers.sweep_calls import sweep_calls
from timer_triggers.sweep_turns import sweep_turns

# Every request of the SDKs is logged at INFO otherwise, which costs a fifth of a stream's CPU.
for sdk in ("azure", "httpx2"):
    logging.getLogger(sdk).setLevel(logging.WARNING)
clients.report_missing_settings()
clients.warm_up()

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

# Durable functions. Orchestrators call the others by the names registered here.
app.orchestration_trigger(context_name="context")(chat_turn)
app.activity_trigger(input_name="request")(app.durable_client_input(client_name="client")(stream_completion))
app.activity_trigger(input_name="request")(app.durable_client_input(client_name="client")(close_turn))
app.activity_trigger(input_name="request")(write_log_record)
app.entity_trigger(context_name="context")(conversation)

# Timer functions. A schedule in percent signs is the name of an app setting: without it the function is in error.
app.timer_trigger(arg_name="timer", schedule="%SWEEP_SCHEDULE%")(
    app.durable_client_input(client_name="client")(sweep_turns)
)
app.timer_trigger(arg_name="timer", schedule="30 */5 * * * *")(sweep_calls)


# HTTP functions. The host takes the first match in the order of their names, whatever is more specific.
@app.route(route="/", methods=["GET"])
async def chat_page(req: Request) -> Response:
    return await pages.chat_page(req)


@app.route(route="assets/{*path}", methods=["GET"])
async def asset(req: Request) -> Response:
    return await pages.asset(req)


@app.route(route="api/negotiate", methods=["GET", "POST"])
async def negotiate_signalr(req: Request) -> Response:
    return await negotiate.negotiate(req)


@app.route(route="api/conversations/{conversation_id}/turns", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start_turn(req: Request, client: df.DurableOrchestrationClient) -> Response:
    return await turns.start_turn(req, client)


@app.route(route="api/turns/{turn_id}", methods=["GET"])
@app.durable_client_input(client_name="client")
async def turn_status(req: Request, client: df.DurableOrchestrationClient) -> Response:
    return await turns.turn_status(req, client)


@app.route(route="api/turns/{turn_id}/frames", methods=["GET"])
@app.durable_client_input(client_name="client")
async def turn_frames(req: Request, client: df.DurableOrchestrationClient) -> Response:
    return await frames.turn_frames(req, client)


@app.route(route="api/turns/{turn_id}/stream", methods=["GET"])
@app.durable_client_input(client_name="client")
async def turn_stream(req: Request, client: df.DurableOrchestrationClient) -> Response:
    return await frames.turn_stream(req, client)


@app.route(route="api/turns/{turn_id}/stop", methods=["POST"])
@app.durable_client_input(client_name="client")
async def stop_turn(req: Request, client: df.DurableOrchestrationClient) -> Response:
    return await stop.stop_turn(req, client)


@app.route(route="api/conversations/{conversation_id}", methods=["GET"])
@app.durable_client_input(client_name="client")
async def read_conversation(req: Request, client: df.DurableOrchestrationClient) -> Response:
    return await conversations.read_conversation(req, client)


@app.route(route="api/health", methods=["GET"])
async def check_health(req: Request) -> Response:
    return await health.health(req)


@app.route(route="api/chat_stream", methods=["POST"])
@app.durable_client_input(client_name="client")
async def chat_stream(req: Request, client: df.DurableOrchestrationClient) -> Response:
    return await tutorial.chat_stream(req, client)


@app.route(route="api/broadcast", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
async def broadcast(req: Request) -> Response:
    return await tutorial.broadcast(req)


# The logging proxy, for any OpenAI client.
@app.route(route="openai/deployments/{deployment}/chat/completions", methods=["POST"])
async def proxy_chat(req: Request) -> Response:
    return await completions_proxy.by_deployment(req, completions_proxy.CHAT)


@app.route(route="openai/deployments/{deployment}/embeddings", methods=["POST"])
async def proxy_embeddings(req: Request) -> Response:
    return await completions_proxy.by_deployment(req, completions_proxy.EMBEDDINGS)


@app.route(route="openai/responses", methods=["POST"])
async def proxy_responses(req: Request) -> Response:
    return await completions_proxy.by_version(req, completions_proxy.RESPONSES)


@app.route(route="openai/v1/chat/completions", methods=["POST"])
async def proxy_v1_chat(req: Request) -> Response:
    return await completions_proxy.by_model(req, completions_proxy.CHAT)


@app.route(route="openai/v1/embeddings", methods=["POST"])
async def proxy_v1_embeddings(req: Request) -> Response:
    return await completions_proxy.by_model(req, completions_proxy.EMBEDDINGS)


@app.route(route="openai/v1/responses", methods=["POST"])
async def proxy_v1_responses(req: Request) -> Response:
    return await completions_proxy.by_model(req, completions_proxy.RESPONSES)


# Last by its name: whatever no other function took, also a known route with another method. Three pages are left to the
# host, which knows none: the HTTP extension would answer them itself, with a page whose scripts come from elsewhere.
@app.route(route="{*path:regex(^(?!(docs|redoc|openapi.json)(/|$)))}")
async def unknown(req: Request) -> Response:
    return await unknown_route.unknown_route(req)
