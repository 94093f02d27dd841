"""Limits and missing settings, on stacks that have them."""

from tests.chat_client import ChatClient
from tests.conftest import NewStack


async def test_one_turn_too_many_at_once_is_told_when_to_come_again(new_stack: NewStack):
    stack = new_stack(environment={"TURNS_AT_ONCE": "2"})
    async with ChatClient(stack.url, signalr=False) as visitor, ChatClient(stack.url, signalr=False) as other:
        slow = {"prompt": "#say slow\n#first 1.5"}
        running = [(await visitor.post_turn(slow))[1]["turnId"] for _ in range(2)]
        async with visitor.http.post("/api/conversations/third/turns", json=slow) as answer:
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) > 0
            assert (await answer.json())["error"]["code"] == "too_many_turns"
        assert (await visitor.get("/api/conversations/third"))[0] == 404
        assert (await other.post_turn(slow))[0] == 202
        for turn_id in running:
            await visitor.wait_for(turn_id, "answered", "logged")
        assert (await visitor.post_turn(slow))[0] == 202


async def test_a_model_that_cannot_be_reached_fails_the_turn_in_words(new_stack: NewStack):
    environment = {"AZURE_OPENAI_ENDPOINT": "http://127.0.0.1:9", "AZURE_OPENAI_KEY": "x"}
    stack = new_stack(environment=environment)
    async with ChatClient(stack.url, signalr=False) as visitor:
        done = await visitor.answer("hello")
    assert done["status"] == "failed"
    assert done["error"]["retryable"] is True
    assert done["error"]["message"]


async def test_without_a_secret_visitors_are_refused_with_the_settings_name(new_stack: NewStack):
    stack = new_stack(environment={"SESSION_SECRET": ""})
    async with ChatClient(stack.url, signalr=False).http as http:
        async with http.post("/api/negotiate") as answer:
            body = await answer.json()
        async with http.get("/") as page:
            assert page.status == 200
    assert answer.status == 500
    assert "SESSION_SECRET" in body["error"]["message"]
    assert "SESSION_SECRET" in stack.log("host")


async def test_without_signalr_and_event_hubs_a_turn_still_completes(new_stack: NewStack):
    environment = {
        "AzureSignalRConnectionString": "Endpoint=http://127.0.0.1;Port=9;AccessKey=" + "k" * 40 + ";Version=1.0;",
        "AZURE_EVENTHUB_CONN_STR": "Endpoint=sb://localhost:9;SharedAccessKeyName=n;SharedAccessKey=k;"
        "UseDevelopmentEmulator=true;",
    }
    stack = new_stack(environment=environment)
    async with ChatClient(stack.url, signalr=False) as visitor:
        done = await visitor.answer("#length 200\n#speed 30\n#first 0")
    assert (done["status"], done["length"], done["logged"]) == ("completed", 200, False)
    assert done["deliveryErrors"] > 0
