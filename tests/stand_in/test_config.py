"""The table of services: which settings connect an app to which service."""

from collections.abc import Mapping

import pytest

from stand_in.azure_openai.access import EMULATOR_KEY
from stand_in.blob_storage.requests import ACCOUNT
from stand_in.blob_storage.shared_key import ACCOUNT_KEY
from stand_in.config import SERVICES, Service, app_settings, connections_in
from stand_in.event_hubs.connection_string import connection_string as event_hubs_connection
from stand_in.signalr.access_tokens import connection_string as signalr_connection

BY_KEY = {service.key: service for service in SERVICES}


@pytest.mark.parametrize(
    ("key", "settings", "reason"),
    [
        ("blob", {}, None),
        ("blob", {"AzureWebJobsStorage": ""}, None),
        ("blob", {"AzureWebJobsStorage": "UseDevelopmentStorage=true"}, None),
        ("blob", {"AzureWebJobsStorage": "usedevelopmentstorage=TRUE;"}, None),
        (
            "blob",
            {"AzureWebJobsStorage": "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"},
            "AzureWebJobsStorage",
        ),
        ("blob", {"AzureWebJobsStorage__accountName": "mine"}, "AzureWebJobsStorage__accountName"),
        ("signalr", {"AzureSignalRConnectionString": "Endpoint=https://x"}, "AzureSignalRConnectionString"),
        (
            "signalr",
            {"AzureSignalRConnectionString__serviceUri": "https://x"},
            "AzureSignalRConnectionString__serviceUri",
        ),
        ("eventHubs", {"AZURE_EVENTHUB_CONN_STR": "Endpoint=sb://x"}, "AZURE_EVENTHUB_CONN_STR"),
        ("eventHubs", {"AZURE_EVENTHUB_NAME": "mine"}, None),
        ("model", {"AZURE_OPENAI_ENDPOINT": "https://x"}, "AZURE_OPENAI_ENDPOINT"),
        ("model", {"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1"}, "OPENAI_BASE_URL"),
        ("model", {"AZURE_OPENAI_KEY": "left over"}, None),
        ("host", {"AzureWebJobsStorage": "x"}, None),
    ],
)
def test_an_emulator_is_replaced_by_what_names_a_real_service(
    key: str, settings: Mapping[str, str], reason: str | None
):
    assert BY_KEY[key].replaced_by(settings) == reason


def test_connections_replace_the_apps_own_and_defaults_do_not():
    own = {
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "AZURE_OPENAI_KEY": "old",
        "AZURE_EVENTHUB_NAME": "mine",
    }
    given = app_settings(SERVICES, own, {service.key: 20000 for service in SERVICES})
    assert "BlobEndpoint=http://127.0.0.1:20000/devstoreaccount1;" in given["AzureWebJobsStorage"]
    assert given["AZURE_OPENAI_KEY"] != "old"
    assert given["AZURE_EVENTHUB_NAME"] == "mine"
    assert given["CHAT_MODEL_DEPLOYMENT_NAME"] == "gpt-4o-mini"


def test_the_table_connects_with_what_each_emulator_accepts():
    given = app_settings(SERVICES, {}, {service.key: 20000 for service in SERVICES})
    assert given["AzureSignalRConnectionString"] == signalr_connection(20000)
    assert given["AZURE_EVENTHUB_CONN_STR"] == event_hubs_connection(20000)
    assert given["AZURE_OPENAI_KEY"] == EMULATOR_KEY
    assert f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};" in given["AzureWebJobsStorage"]


def test_a_service_that_does_not_run_leaves_the_apps_settings_alone():
    own = {"AZURE_OPENAI_ENDPOINT": "https://real.example"}
    assert app_settings((BY_KEY["model"],), own, {}) == own


def test_of_the_environment_only_connections_are_taken():
    environment = {"PATH": "/bin", "OPENAI_BASE_URL": "u", "AzureWebJobsStorage__accountName": "a"}
    assert connections_in(environment, SERVICES) == {"OPENAI_BASE_URL": "u", "AzureWebJobsStorage__accountName": "a"}


def test_services_differ_in_all_that_must_be_unique():
    def values(service: Service) -> tuple[object, ...]:
        return service.key, service.module, service.option, service.environment_variable, service.default_port

    for column in zip(*map(values, SERVICES), strict=True):
        assert len(set(column)) == len(SERVICES)
    assert BY_KEY["eventHubs"].environment_variable == "STAND_IN_EVENT_HUBS_PORT"
