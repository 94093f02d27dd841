"""Settings: read once, reported by name, secrets never shown."""

import pytest

from adapters.settings import Settings
from chat.errors import MissingSetting


def test_every_missing_setting_is_named() -> None:
    missing = "\n".join(Settings.from_environment({}).missing())
    for name in (
        "AzureWebJobsStorage",
        "AZURE_OPENAI_ENDPOINT",
        "AzureSignalRConnectionString",
        "AZURE_EVENTHUB_CONN_STR",
        "SWEEP_SCHEDULE",
    ):
        assert name in missing


def test_the_names_of_the_seeds_are_read_and_ours_win() -> None:
    seeds = {"AZURE_OPENAI_BASE_URL": "https://b", "AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_DEPLOYMENT": "d"}
    settings = Settings.from_environment(seeds)
    assert (settings.openai_endpoint, settings.openai_key, settings.deployments) == ("https://b", "k", ("d",))
    ours = {"AZURE_OPENAI_ENDPOINT": "https://e", "CHAT_MODEL_DEPLOYMENT_NAME": "c", "ALLOWED_DEPLOYMENTS": "d, c ,e"}
    settings = Settings.from_environment(seeds | ours)
    assert (settings.openai_endpoint, settings.deployments) == ("https://e", ("c", "d", "e"))


@pytest.mark.parametrize(
    ("name", "value"), [("ALLOW_ANONYMOUS", "maybe"), ("TURNS_AT_ONCE", "-1"), ("MAX_TOKENS", "0")]
)
def test_a_value_that_cannot_be_understood_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(MissingSetting, match=name):
        Settings.from_environment({name: value})


def test_secrets_do_not_show() -> None:
    names = ("AzureWebJobsStorage", "AZURE_OPENAI_KEY", "AzureSignalRConnectionString", "SESSION_SECRET")
    assert "hush" not in repr(
        Settings.from_environment(dict.fromkeys(names, "hush") | {"AZURE_EVENTHUB_CONN_STR": "hush"})
    )


def test_fallbacks_keep_their_order_and_a_resource_without_them_is_reported() -> None:
    settings = Settings.from_environment({"FALLBACK_DEPLOYMENTS": "b, a", "BACKGROUND_DEPLOYMENTS": "c"})
    assert (settings.fallback_deployments, settings.background_deployments) == (("b", "a"), frozenset({"c"}))
    assert "FALLBACK_DEPLOYMENTS" in "\n".join(
        Settings.from_environment({"FALLBACK_OPENAI_ENDPOINT": "https://second"}).missing()
    )
    assert "hush" not in repr(Settings.from_environment({"FALLBACK_OPENAI_KEY": "hush"}))
