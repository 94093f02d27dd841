"""An app in classic mode: `func.HttpRequest` in, `func.HttpResponse` out."""

import json
import threading

import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
GATE = threading.Event()


@app.route(route="echo/{id:int}/{rest?}")
def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    seen = {
        "method": req.method,
        "url": req.url,
        "params": dict(req.params),
        "route": dict(req.route_params),
        "headers": dict(req.headers),
        "body": req.get_body().decode("latin-1"),
        "form": dict(req.form),
        "main thread": threading.current_thread() is threading.main_thread(),
        "invocation": context.invocation_id,
    }
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")


@app.route(route="returns/{kind}")
def returns(req: func.HttpRequest):
    kind = req.route_params["kind"]
    if kind == "cookies":
        answer = func.HttpResponse("cookies", headers={"Set-Cookie": "a=x y; Path=/p; HttpOnly"})
        answer.headers.add("Set-Cookie", 'b="2"; Secure; SameSite=Lax; Max-Age=60')
        return answer
    values = {
        "none": None,
        "dict": {"a": 1},
        "text": "plain é",
        "true": "true",
        "number": "12.50",
        "object": '{"b":1,"a":[]}',
        "description": '{"body": {"x": 1}, "statusCode": 201, "headers": {"X-A": "b"}}',
        "teapot": func.HttpResponse("short and stout", status_code=418, headers={"X-Kind": "teapot"}),
        "empty": func.HttpResponse(status_code=202, headers={"Retry-After": "10"}),
        "header": func.HttpResponse("x", headers={"X-Text": "é"}),
    }
    return values[kind]


@app.route(route="waits")
def waits(req: func.HttpRequest) -> func.HttpResponse:
    GATE.wait(20)
    return func.HttpResponse("done")


@app.route(route="order/{id}")
def order_a(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(f"parameter {req.route_params['id']}")


@app.route(route="order/literal")
def order_b(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("literal")


@app.route(route="method", methods=["GET"])
def method_get(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("get")


@app.route(route="method", methods=["POST"])
def method_post(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("post")


@app.route(route="broken/{x:regex([)}")
def broken(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("never")


@app.route(route="start/{name}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client) -> func.HttpResponse:
    instance = await client.start_new(req.route_params["name"], client_input=req.get_json())
    return await client.wait_for_completion_or_create_check_status_response(req, instance, 20000, 50)


@app.orchestration_trigger(context_name="context", orchestration="Doubled")
def doubling(context):
    return (yield context.call_activity("Double", context.get_input()))


@app.activity_trigger(input_name="number", activity="Double")
def double(number: int) -> int:
    return number * 2
