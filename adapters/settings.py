"""Settings: the app settings this app reads, and nothing else reads. Azure gives them as environment variables.

Reading never fails, since importing the app must not: what is missing is reported by its name at start, and again as
MissingSetting where it is needed. README lists every name; a test holds it to that.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from chat.errors import MissingSetting

LOCAL_EVENT_HUB = "openai-logs"


@dataclass(frozen=True, slots=True)
class Settings:
    """The app settings, read once per process. Secrets do not show in `repr`."""

    storage: str | None = field(repr=False)
    storage_account: str | None
    openai_endpoint: str | None
    openai_key: str | None = field(repr=False)
    openai_api_version: str | None
    openai_base_url: str | None
    deployments: tuple[str, ...]
    reasoning_deployments: frozenset[str]
    repeatable_deployments: frozenset[str]
    background_deployments: frozenset[str]
    fallback_deployments: tuple[str, ...]
    fallback_endpoint: str | None
    fallback_key: str | None = field(repr=False)
    fallback_api_version: str | None
    signalr: str | None = field(repr=False)
    signalr_service_uri: str | None
    signalr_sends_per_second: int
    event_hub_connection: str | None = field(repr=False)
    event_hub_namespace: str | None
    event_hub_name: str | None
    session_secret: str | None = field(repr=False)
    session_cookie_secure: bool
    allow_anonymous: bool
    authentication_enabled: bool
    allowed_origins: frozenset[str]
    system_prompt: str
    log_prompts: bool
    max_prompt_bytes: int
    max_tokens: int
    default_max_tokens: int | None
    turns_at_once: int
    turns_per_day: int
    reveal_ms: int
    read_timeout: float
    sweep_schedule: str | None  # the host reads it, in function_app.py's trigger; here it is only missed by name
    proxy_keys: str | None = field(repr=False)
    proxy_max_body_bytes: int
    model_prices: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """The settings in these variables. Raises MissingSetting for a value that cannot be understood."""
        read = _Reader(environment)
        return cls(
            storage=read.text("AzureWebJobsStorage"),
            storage_account=read.text("AzureWebJobsStorage__accountName"),
            openai_endpoint=read.text("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_BASE_URL"),
            openai_key=read.text("AZURE_OPENAI_KEY", "AZURE_OPENAI_API_KEY", "OPENAI_API_KEY"),
            openai_api_version=read.text("AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION"),
            openai_base_url=read.text("OPENAI_BASE_URL"),
            deployments=read.deployments(),
            reasoning_deployments=frozenset(read.names("REASONING_DEPLOYMENTS")),
            repeatable_deployments=frozenset(read.names("REPEATABLE_DEPLOYMENTS")),
            background_deployments=frozenset(read.names("BACKGROUND_DEPLOYMENTS")),
            fallback_deployments=read.names("FALLBACK_DEPLOYMENTS"),
            fallback_endpoint=read.text("FALLBACK_OPENAI_ENDPOINT"),
            fallback_key=read.text("FALLBACK_OPENAI_KEY"),
            fallback_api_version=read.text("FALLBACK_OPENAI_API_VERSION"),
            signalr=read.text("AzureSignalRConnectionString"),
            signalr_service_uri=read.text("AzureSignalRConnectionString__serviceUri"),
            # What one unit is documented to take of sends to users over REST, 2 KB each; with more units or several
            # instances of the app it is units x 200 / instances.
            signalr_sends_per_second=read.number("SIGNALR_SENDS_PER_SECOND", 200),
            event_hub_connection=read.text("AZURE_EVENTHUB_CONN_STR"),
            event_hub_namespace=read.text("AZURE_EVENTHUB_CONN_STR__fullyQualifiedNamespace"),
            event_hub_name=read.text("AZURE_EVENTHUB_NAME"),
            session_secret=read.text("SESSION_SECRET"),
            session_cookie_secure=read.flag("SESSION_COOKIE_SECURE", default=True),
            allow_anonymous=read.flag("ALLOW_ANONYMOUS", default=False),
            authentication_enabled=read.flag("WEBSITE_AUTH_ENABLED", default=False),
            allowed_origins=frozenset(read.names("ALLOWED_ORIGINS")),
            system_prompt=environment.get("SYSTEM_PROMPT", "You are a helpful assistant."),
            log_prompts=read.flag("LOG_PROMPTS", default=True),
            max_prompt_bytes=read.number("MAX_PROMPT_BYTES", 64 * 1024, low=1),
            max_tokens=read.number("MAX_TOKENS", 32_768, low=1),
            default_max_tokens=read.number("DEFAULT_MAX_TOKENS", 0) or None,
            turns_at_once=read.number("TURNS_AT_ONCE", 8),
            turns_per_day=read.number("TURNS_PER_DAY", 1_000),
            reveal_ms=read.number("REVEAL_MS", 33),
            read_timeout=float(read.number("MODEL_READ_TIMEOUT_SECONDS", 60, low=1)),
            sweep_schedule=read.text("SWEEP_SCHEDULE"),
            proxy_keys=read.text("PROXY_KEYS"),
            model_prices=read.text("MODEL_PRICES"),
            proxy_max_body_bytes=read.number("PROXY_MAX_BODY_BYTES", 32 * 1024 * 1024, low=1),
        )

    def missing(self) -> Iterator[str]:
        """The names of settings without which something will not work, each with what that is."""
        if not self.storage and not self.storage_account:
            yield "AzureWebJobsStorage: no turn can be accepted"
        if not self.openai_endpoint and not self.openai_base_url:
            yield "AZURE_OPENAI_ENDPOINT (or OPENAI_BASE_URL): every turn will fail"
        if self.fallback_endpoint and not self.fallback_deployments:
            yield "FALLBACK_DEPLOYMENTS: the resource in FALLBACK_OPENAI_ENDPOINT will never be asked"
        if not self.signalr and not self.signalr_service_uri:
            yield "AzureSignalRConnectionString: browsers will poll"
        if not self.event_hub_connection and not self.event_hub_namespace:
            yield "AZURE_EVENTHUB_CONN_STR: no turn will be logged"
        if not self.sweep_schedule:
            yield "SWEEP_SCHEDULE: nothing that was left behind will be closed or logged"
        if self.allow_anonymous and not self.session_secret:
            yield "SESSION_SECRET: anonymous visitors will be refused"
        if not self.allow_anonymous and not self.authentication_enabled:
            yield "ALLOW_ANONYMOUS (or App Service Authentication): every visitor will be refused"


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, *names: str) -> str | None:
        """The first of these that is set and not blank."""
        return next((value for name in names if (value := self._environment.get(name, "").strip())), None)

    def names(self, name: str) -> tuple[str, ...]:
        """A comma-separated list."""
        return tuple(item.strip() for item in self._environment.get(name, "").split(",") if item.strip())

    def deployments(self) -> tuple[str, ...]:
        """The default deployment first, then the others that a caller may name."""
        default = self.text("CHAT_MODEL_DEPLOYMENT_NAME", "AZURE_OPENAI_DEPLOYMENT", "AZURE_OPENAI_MODEL")
        return tuple(dict.fromkeys([default or "gpt-4o-mini", *self.names("ALLOWED_DEPLOYMENTS")]))

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.text(name)
        if value is None:
            return default
        if value.lower() in ("1", "true", "yes", "on"):
            return True
        if value.lower() in ("0", "false", "no", "off"):
            return False
        raise MissingSetting(name, "must be 1 or 0 (true, yes, on; false, no, off)")

    def number(self, name: str, default: int, *, low: int = 0) -> int:
        value = self.text(name)
        if value is None:
            return default
        if not value.isdecimal() or int(value) < low:
            raise MissingSetting(name, f"must be a whole number from {low} on")
        return int(value)
