"""The clients of this process: each made when first asked for, shared by all functions, gone with the process.

The worker runs every async function on one loop, so one client of each kind serves the whole process; connections
stay open between invocations. Making one raises MissingSetting when it is not configured.
"""

import logging
import secrets
import time
from functools import cache, partial
from threading import Lock, Thread
from typing import Any

from azure.identity.aio import DefaultAzureCredential

from adapters.azure_openai import ModelConnection, OpenAIChatModel
from adapters.blob_journal import BlobJournal
from adapters.call_store import BlobCallStore
from adapters.event_hubs import EventHubLog
from adapters.model_passthrough import ModelPassthrough
from adapters.model_resources import FALLBACK, TwoResources
from adapters.settings import LOCAL_EVENT_HUB, Settings
from adapters.signalr import SignalRHub
from adapters.signalr_connection import SignalRConnection
from chat.bells import Bells
from chat.call_logging import CallLog
from chat.delivery import Browser
from chat.deployments import Deployments
from chat.errors import DeliveryFailed, MissingSetting
from chat.journal_tails import JournalTails
from chat.proxy_keys import LogTexts, ProxyKeys
from chat.quota import Quota
from chat.relay import ChatModel
from chat.send_line import SendLine
from chat.usage import BegunTurns

HUB = "chat"

logger = logging.getLogger(__name__)
_one_model = Lock()  # it is made in a thread


class WallClock:
    """UTC in milliseconds that never goes back: the time at start plus what the monotonic clock says since."""

    def __init__(self) -> None:
        self._start = time.time_ns() - time.monotonic_ns()

    def now(self) -> int:
        return (self._start + time.monotonic_ns()) // 1_000_000


class NoBrowser:
    """The way to the browser when SignalR is not configured: every message counts as not delivered, for this reason."""

    def __init__(self, reason: MissingSetting) -> None:
        self._reason = str(reason)

    async def send_to_user(self, user_id: str, target: str, arguments: list[Any]) -> None:
        raise DeliveryFailed(f"{self._reason} Browsers poll.")


clock = WallClock()
bells = Bells()


def new_id() -> str:
    """32 random hex digits."""
    return secrets.token_hex(16)


@cache
def settings() -> Settings:
    return Settings.from_environment()


def report_missing_settings() -> None:
    """By name, at start: a warning for each setting that is missing, an error for each that makes no sense.

    Importing the app never fails for it.
    """
    try:
        known = settings()
    except MissingSetting as error:
        logger.error("%s", error)
        return
    for missing in known.missing():
        logger.warning("Missing setting %s.", missing)
    for connection_string, understand in (
        (known.signalr, SignalRConnection.from_connection_string),
        (known.proxy_keys, lambda _: proxy_keys()),
        (known.event_hub_connection, partial(EventHubLog.from_connection_string, name=known.event_hub_name)),
    ):
        try:
            if connection_string:
                understand(connection_string)
        except MissingSetting as error:
            logger.error("%s", error)


@cache
def credential() -> DefaultAzureCredential:
    return DefaultAzureCredential()


@cache
def journal() -> BlobJournal:
    if connection_string := settings().storage:
        try:
            return BlobJournal.from_connection_string(connection_string)
        except ValueError:
            raise MissingSetting("AzureWebJobsStorage", "needs AccountName and AccountKey") from None
    if account := settings().storage_account:
        return BlobJournal.from_account_url(f"https://{account}.blob.core.windows.net", credential())
    raise MissingSetting("AzureWebJobsStorage")


@cache
def journal_tails() -> JournalTails:
    return JournalTails(journal())


@cache
def quota() -> Quota:
    return Quota(journal(), clock, settings().turns_at_once, settings().turns_per_day)


@cache
def begun_turns() -> BegunTurns:
    return BegunTurns(journal())


@cache
def deployments() -> Deployments:
    """What the settings say of the deployments; those of the second resource go by their names there, prefixed."""
    known = settings()
    prefix = FALLBACK if known.fallback_endpoint else ""
    return Deployments(
        fallbacks=tuple(prefix + name for name in known.fallback_deployments),
        repeatable=known.repeatable_deployments,
        background=known.background_deployments,
        reasoning=known.reasoning_deployments,
    )


def warm_up() -> None:
    """Make the model's client beside the start of the app: reading the trust store takes 0.1 s, which the first turn
    would wait for, and with it every other stream of this process."""
    Thread(target=_made_early, name="warm-up", daemon=True).start()


def _made_early() -> None:
    try:
        chat_model()
    except MissingSetting:
        logger.debug("No model client was made at start.")  # the setting was reported; a turn says so again


def chat_model() -> ChatModel:
    """The model service, with the second resource behind it where there is one."""
    with _one_model:
        return _chat_model()


@cache
def _chat_model() -> ChatModel:
    first, known = OpenAIChatModel(model_connection()), settings()
    if not known.fallback_endpoint:
        return first
    second = ModelConnection(
        endpoint=known.fallback_endpoint,
        key=known.fallback_key,
        api_version=known.fallback_api_version,
        prefix=FALLBACK,
        credential=None if known.fallback_key else credential(),
        read_timeout=known.read_timeout,
    )
    return TwoResources(first, OpenAIChatModel(second))


@cache
def model_passthrough() -> ModelPassthrough:
    return ModelPassthrough(model_connection())


def model_connection() -> ModelConnection:
    known = settings()
    if not known.openai_base_url and not known.openai_endpoint:
        raise MissingSetting("AZURE_OPENAI_ENDPOINT")
    return ModelConnection(
        endpoint=known.openai_endpoint,
        key=known.openai_key,
        api_version=known.openai_api_version,
        base_url=known.openai_base_url,
        credential=None if known.openai_key or known.openai_base_url else credential(),
        read_timeout=known.read_timeout,
    )


@cache
def proxy_keys() -> ProxyKeys:
    try:
        return ProxyKeys(settings().proxy_keys, LogTexts.FULL if settings().log_prompts else LogTexts.NONE)
    except ValueError as error:
        raise MissingSetting("PROXY_KEYS", str(error)) from None


@cache
def call_store() -> BlobCallStore:
    return BlobCallStore(journal(), new_id()[:12], clock)


@cache
def call_log() -> CallLog:
    return CallLog(call_store, event_log)


@cache
def signalr() -> SignalRHub:
    if connection_string := settings().signalr:
        connection = SignalRConnection.from_connection_string(connection_string)
        return SignalRHub(connection, HUB, credential=None if connection.access_key else credential())
    if service_uri := settings().signalr_service_uri:
        return SignalRHub(SignalRConnection.from_service_uri(service_uri), HUB, credential=credential())
    raise MissingSetting("AzureSignalRConnectionString")


@cache
def browser() -> Browser:
    try:
        return signalr()
    except MissingSetting as reason:
        return NoBrowser(reason)


@cache
def send_line() -> SendLine:
    return SendLine(settings().signalr_sends_per_second)


@cache
def event_log() -> EventHubLog:
    known = settings()
    name = known.event_hub_name
    if known.event_hub_connection:
        return EventHubLog.from_connection_string(known.event_hub_connection, name)
    if known.event_hub_namespace:
        return EventHubLog.from_identity(known.event_hub_namespace, name or LOCAL_EVENT_HUB, credential())
    raise MissingSetting("AZURE_EVENTHUB_CONN_STR")


class OwnerCache:
    """Who owns which turn: it never changes, so a poll need not read the whole journal to know."""

    def __init__(self, size: int = 10_000) -> None:
        self._owners: dict[str, str] = {}
        self._size = size

    def get(self, turn_id: str) -> str | None:
        return self._owners.get(turn_id)

    def put(self, turn_id: str, owner: str) -> None:
        self._owners[turn_id] = owner
        if len(self._owners) > self._size:
            del self._owners[next(iter(self._owners))]


owners = OwnerCache()
_settled: set[str] = set()


def is_settled(turn_id: str) -> bool:
    """Whether this process has found that nothing is left to do for this turn."""
    return turn_id in _settled


def settled(turn_id: str) -> None:
    """Nothing is left to do for this turn, whatever its instance's status says for the next days."""
    if len(_settled) > 100_000:
        _settled.clear()
    _settled.add(turn_id)
