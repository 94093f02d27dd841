"""Somebody's app: an orchestration with an activity, an entity, and a look at every service it is connected to."""

import json
import os
import time

import aiohttp
import azure.durable_functions as df
import azure.functions as func
import jwt
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient
from azure.storage.blob.aio import BlobServiceClient
from azurefunctions.extensions.http.fastapi import JSONResponse, Request
from openai import AsyncOpenAI

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="api/hello/{name}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start_hello(req: Request, client: df.DurableOrchestrationClient) -> JSONResponse:
    instance_id = await client.start_new("hello", None, req.path_params["name"])
    links = client.create_http_management_payload(instance_id)
    return JSONResponse(links, status_code=202, headers={"Location": links["statusQueryGetUri"]})


@app.orchestration_trigger(context_name="context")
def hello(context: df.DurableOrchestrationContext):
    name = context.get_input()
    greetings = []
    for language in ("en", "ja"):
        greetings.append((yield context.call_activity("greet", {"name": name, "language": language})))
    count = yield context.call_entity(df.EntityId("counter", name), "add", 1)
    return {"greetings": greetings, "count": count}


@app.activity_trigger(input_name="request")
def greet(request: dict) -> str:
    return {"en": "Hello", "ja": "こんにちは"}[request["language"]] + " " + request["name"]


@app.entity_trigger(context_name="context")
def counter(context: df.DurableEntityContext):
    total = context.get_state(lambda: 0) + context.get_input()
    context.set_state(total)
    context.set_result(total)


@app.route(route="api/services", methods=["GET"])
async def services(req: Request) -> JSONResponse:
    return JSONResponse(
        {
            "blob": await use_blob(),
            "eventHubs": await use_event_hubs(),
            "model": await use_model(),
            "signalr": await use_signalr(),
        }
    )


async def use_blob() -> str:
    async with BlobServiceClient.from_connection_string(os.environ["AzureWebJobsStorage"]) as storage:
        container = storage.get_container_client("hello")
        if not await container.exists():
            await container.create_container()
        blob = container.get_blob_client("greeting")
        await blob.upload_blob(b"kept", overwrite=True)
        return (await (await blob.download_blob()).readall()).decode()


async def use_event_hubs() -> int:
    connection, hub = os.environ["AZURE_EVENTHUB_CONN_STR"], os.environ["AZURE_EVENTHUB_NAME"]
    async with EventHubProducerClient.from_connection_string(connection, eventhub_name=hub) as producer:
        batch = await producer.create_batch()
        batch.add(EventData(json.dumps({"greeting": "hello"})))
        await producer.send_batch(batch)
        return len((await producer.get_eventhub_properties())["partition_ids"])


async def use_model() -> str:
    endpoint, key = os.environ["AZURE_OPENAI_ENDPOINT"], os.environ["AZURE_OPENAI_KEY"]
    async with AsyncOpenAI(base_url=f"{endpoint}/openai/v1/", api_key=key, max_retries=0) as model:
        completion = await model.chat.completions.create(
            model=os.environ["CHAT_MODEL_DEPLOYMENT_NAME"], messages=[{"role": "user", "content": "hello"}]
        )
        return completion.choices[0].finish_reason


async def use_signalr() -> int:
    parts = dict(part.split("=", 1) for part in os.environ["AzureSignalRConnectionString"].split(";") if part)
    url = f"{parts['Endpoint']}:{parts['Port']}/api/v1/hubs/hello/users/nobody"
    token = jwt.encode({"aud": url, "exp": int(time.time()) + 60}, parts["AccessKey"], algorithm="HS256")
    headers = {"Authorization": f"Bearer {token}"}
    message = {"target": "greeting", "arguments": ["hello"]}
    async with aiohttp.ClientSession() as session, session.post(url, json=message, headers=headers) as answer:
        return answer.status
