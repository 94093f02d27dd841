"""Two resources: each deployment is asked where it is, by its name there."""

import pytest

from adapters import clients
from adapters.model_resources import FALLBACK, TwoResources
from adapters.settings import Settings
from chat.completion import CompletionRequest
from tests.model_doubles import RememberingModel


async def test_calls_go_to_the_resource_of_their_deployment() -> None:
    first, second = RememberingModel(lambda number: ["first"]), RememberingModel(lambda number: ["second"])
    model = TwoResources(first, second)
    for deployment in ("gpt-x", f"{FALLBACK}gpt-x"):
        request = CompletionRequest((), deployment, background=True)
        async with model.stream(request) as stream:
            assert stream.upstream.deployment == deployment
        async with model.reattach(request, "chatcmpl-1", None):
            pass
        await model.cancel(deployment, "chatcmpl-1")
    for one, deployment in ((first, "gpt-x"), (second, f"{FALLBACK}gpt-x")):
        assert [request.deployment for request in one.requests] == [deployment]
        assert one.reattached == [("chatcmpl-1", None)]
        assert one.cancelled == [(deployment, "chatcmpl-1")]


def test_fallbacks_on_a_second_resource_go_by_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"FALLBACK_DEPLOYMENTS": "gpt-x", "REASONING_DEPLOYMENTS": "o3"}
    for endpoint, names in (("", ("gpt-x",)), ("https://second.invalid", ("fallback/gpt-x",))):
        settings = Settings.from_environment(environment | {"FALLBACK_OPENAI_ENDPOINT": endpoint})
        monkeypatch.setattr(clients, "settings", lambda settings=settings: settings)
        found = clients.deployments.__wrapped__()
        assert (found.fallbacks, found.reasoning) == (names, frozenset({"o3"}))
