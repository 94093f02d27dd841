"""What a stack consists of: one row per service, and which settings connect an app to each of them.

The rule: an emulator runs only while nothing real is configured in its place. `configured_by` are the app settings
that name a real service (each also in its identity form, `NAME__serviceUri` and the like); the first that is set is
the reason why the emulator stays away. Everything the stand-in knows about an app's settings is in this table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

HOST = "host"

# What the emulators accept. Each obeys a constant of its own; they are written once more here, and compared by a test,
# because importing four servers to learn four words would add half a second to every start.
STORAGE_ACCOUNT = "devstoreaccount1"
STORAGE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
SIGNALR_KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
EVENT_HUBS_KEY = "SAS_KEY_VALUE"
MODEL_KEY = "stand-in-model-key"

# Values of a connection setting that mean "the local emulator", as opposed to a service somebody runs.
EMULATOR_VALUES = frozenset({"", "usedevelopmentstorage=true"})


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the stack.

    `connection(port)` are the settings through which an app reaches the emulator: they replace what the app had.
    `defaults` are given only where nothing is set.
    """

    key: str  # its name in `status` and in the state folder
    title: str
    module: str
    option: str
    default_port: int
    address: str  # with {port}
    configured_by: tuple[str, ...] = ()
    connection: Callable[[int], Mapping[str, str]] = lambda port: {}
    defaults: tuple[tuple[str, str], ...] = ()

    @property
    def environment_variable(self) -> str:
        """`--event-hubs-port` is also STAND_IN_EVENT_HUBS_PORT."""
        return "STAND_IN_" + self.option.removeprefix("--").replace("-", "_").upper()

    def address_at(self, port: int) -> str:
        return self.address.format(port=port)

    def replaced_by(self, settings: Mapping[str, str]) -> str | None:
        """The name of the setting that connects the app to a real service, or None."""
        for name in self.configured_by:
            if settings.get(name, "").strip().rstrip(";").lower() not in EMULATOR_VALUES:
                return name
            identity = next((key for key in sorted(settings) if key.startswith(name + "__") and settings[key]), None)
            if identity is not None:
                return identity
        return None


def _storage(port: int) -> Mapping[str, str]:
    endpoint = f"http://127.0.0.1:{port}/{STORAGE_ACCOUNT}"
    return {
        "AzureWebJobsStorage": f"DefaultEndpointsProtocol=http;AccountName={STORAGE_ACCOUNT};"
        f"AccountKey={STORAGE_KEY};BlobEndpoint={endpoint};"
    }


def _signalr(port: int) -> Mapping[str, str]:
    return {
        "AzureSignalRConnectionString": f"Endpoint=http://127.0.0.1;Port={port};AccessKey={SIGNALR_KEY};Version=1.0;"
    }


def _event_hubs(port: int) -> Mapping[str, str]:
    return {
        "AZURE_EVENTHUB_CONN_STR": f"Endpoint=sb://localhost:{port};SharedAccessKeyName=RootManageSharedAccessKey;"
        f"SharedAccessKey={EVENT_HUBS_KEY};UseDevelopmentEmulator=true;"
    }


def _model(port: int) -> Mapping[str, str]:
    return {"AZURE_OPENAI_ENDPOINT": f"http://127.0.0.1:{port}", "AZURE_OPENAI_KEY": MODEL_KEY}


SERVICES: tuple[Service, ...] = (
    Service(
        key="blob",
        title="blob storage",
        module="stand_in.blob_storage",
        option="--blob-port",
        default_port=10000,
        address="http://127.0.0.1:{port}/" + STORAGE_ACCOUNT,
        configured_by=("AzureWebJobsStorage",),
        connection=_storage,
    ),
    Service(
        key="signalr",
        title="SignalR",
        module="stand_in.signalr",
        option="--signalr-port",
        default_port=8888,
        address="http://127.0.0.1:{port}",
        configured_by=("AzureSignalRConnectionString",),
        connection=_signalr,
    ),
    Service(
        key="eventHubs",
        title="Event Hubs",
        module="stand_in.event_hubs",
        option="--event-hubs-port",
        default_port=5672,
        address="sb://localhost:{port}",
        configured_by=("AZURE_EVENTHUB_CONN_STR",),
        connection=_event_hubs,
        defaults=(("AZURE_EVENTHUB_NAME", "openai-logs"),),
    ),
    Service(
        key="model",
        title="model",
        module="stand_in.azure_openai",
        option="--model-port",
        default_port=8081,
        address="http://127.0.0.1:{port}",
        configured_by=("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_BASE_URL", "OPENAI_BASE_URL"),
        connection=_model,
        defaults=(("CHAT_MODEL_DEPLOYMENT_NAME", "gpt-4o-mini"),),
    ),
    Service(
        key=HOST,
        title="Functions host",
        module="stand_in.host",
        option="--host-port",
        default_port=7071,
        address="http://127.0.0.1:{port}",
    ),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What will run where: decided before anything is started."""

    ports: Mapping[str, int]  # by service key; only services that run
    configured: Mapping[str, str]  # service key -> the setting that connects the app to a real one
    settings: Mapping[str, str]  # what the app is given

    def address(self, service: Service) -> str:
        return service.address_at(self.ports[service.key])


def app_settings(
    services: tuple[Service, ...], settings: Mapping[str, str], ports: Mapping[str, int]
) -> Mapping[str, str]:
    """The app's own settings with the connections to those emulators that run (the keys of `ports`)."""
    given = dict(settings)
    for service in services:
        if service.key in ports:
            given.update(service.connection(ports[service.key]))
            given.update({name: value for name, value in service.defaults if not given.get(name)})
    return given


def connections_in(environment: Mapping[str, str], services: tuple[Service, ...]) -> Mapping[str, str]:
    """The settings of the environment by which an app is connected to services, or would be to an emulator."""
    known = {name for service in services for name in (*service.configured_by, *service.connection(0))}
    known |= {name for service in services for name, _ in service.defaults}
    return {name: value for name, value in environment.items() if name.split("__")[0] in known}
