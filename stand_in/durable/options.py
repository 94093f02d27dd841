"""Options: what host.json says under `extensions.durableTask`, as the engine reads it.

Keys that tune Azure's storage (queues, partitions, leases) have no meaning here and are accepted; a key that the
extension does not have either is reported by its name.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from stand_in.durable.errors import InvalidOptions

# Ten per core, as on a dedicated plan.
_PER_CORE = 10


class VersionMatch(Enum):
    """Which versions of an orchestration this worker runs."""

    NONE = "none"
    STRICT = "strict"
    CURRENT_OR_OLDER = "currentorolder"


class VersionFailure(Enum):
    """What becomes of the others."""

    REJECT = "reject"
    FAIL = "fail"


def _default_limit() -> int:
    return _PER_CORE * (os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class DurableOptions:
    """How the engine works for one app."""

    hub_name: str = "TestHubName"
    default_version: str | None = None
    version_match: VersionMatch = VersionMatch.CURRENT_OR_OLDER
    version_failure: VersionFailure = VersionFailure.REJECT
    max_concurrent_activities: int = _default_limit()
    max_concurrent_orchestrators: int = _default_limit()
    max_concurrent_entities: int = _default_limit()
    max_entity_batch: int = 5_000
    max_actions: int = 100_000
    override_any_state: bool = False
    store_inputs: bool = False
    http_sleep_ms: int = 30_000
    # Deliver the first result that arrives, whichever run of an activity it comes from, as Azure Storage does.
    deliver_late_results: bool = False
    # How long a host may be silent before another takes its work: storageProvider.workItemQueueVisibilityTimeout.
    lease_seconds: float = 300.0
    unknown_keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]{2,44}", self.hub_name):
            raise InvalidOptions(
                f"hubName '{self.hub_name}' is not a task hub name: 3 to 45 letters and digits, a letter first."
            )
        for name in (
            "max_concurrent_activities",
            "max_concurrent_orchestrators",
            "max_concurrent_entities",
            "max_entity_batch",
            "max_actions",
        ):
            if getattr(self, name) < 1:
                raise InvalidOptions(f"{name} must be at least 1.")

    @classmethod
    def from_host_json(cls, section: Mapping[str, Any], *, deliver_late_results: bool = False) -> "DurableOptions":
        """Read the section; names are compared ignoring case. Raises InvalidOptions."""
        given = {key.casefold(): value for key, value in section.items() if value is not None}
        if given.get("extendedsessionsenabled"):
            raise InvalidOptions(
                "extendedSessionsEnabled is not possible for Python apps; the real host refuses it too."
            )
        values: dict[str, Any] = {field: convert(given[key]) for key, (field, convert) in _READ.items() if key in given}
        http = given.get("httpsettings") or {}
        if "defaultAsyncRequestSleepTimeMilliseconds" in http:
            values["http_sleep_ms"] = int(http["defaultAsyncRequestSleepTimeMilliseconds"])
        unknown = sorted(key for key in section if key.casefold() not in _READ.keys() | _WITHOUT_EFFECT)
        return cls(**values, deliver_late_results=deliver_late_results, unknown_keys=tuple(unknown))


def _overridable(value: Any) -> bool:
    if value not in ("NonRunningStates", "AnyState"):
        raise InvalidOptions(f"overridableExistingInstanceStates must be NonRunningStates or AnyState, not {value!r}.")
    return bool(value == "AnyState")


def _choice(choices: type[Enum], key: str) -> Callable[[Any], Enum]:
    def choose(value: Any) -> Enum:
        try:
            return choices(str(value).casefold())
        except ValueError:
            raise InvalidOptions(f"{key} has no value {value!r}.") from None

    return choose


_READ: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "hubname": ("hub_name", str),
    "defaultversion": ("default_version", str),
    "versionmatchstrategy": ("version_match", _choice(VersionMatch, "versionMatchStrategy")),
    "versionfailurestrategy": ("version_failure", _choice(VersionFailure, "versionFailureStrategy")),
    "maxconcurrentactivityfunctions": ("max_concurrent_activities", int),
    "maxconcurrentorchestratorfunctions": ("max_concurrent_orchestrators", int),
    "maxconcurrententityfunctions": ("max_concurrent_entities", int),
    "maxentityoperationbatchsize": ("max_entity_batch", int),
    "maxorchestrationactions": ("max_actions", int),
    "overridableexistinginstancestates": ("override_any_state", _overridable),
    "storeinputsinorchestrationhistory": ("store_inputs", bool),
}

# Known to the extension; here they change nothing.
_WITHOUT_EFFECT = frozenset(
    {
        "applease",
        "appleaseoptions",
        "entitymessagereorderwindowinminutes",
        "extendedsessionidletimeoutinseconds",
        "extendedsessionsenabled",
        "grpclistenermode",
        "httpsettings",
        "localrpcendpointenabled",
        "logreplayevents",
        "maxgrpcmessagesizeinbytes",
        "maxqueuepollinginterval",
        "notifications",
        "rollbackentityoperationsonexceptions",
        "storageprovider",
        "throwstatusexceptionsonraiseevent",
        "tracing",
        "traceinputsandoutputs",
        "tracereplayevents",
        "useapplease",
        "usegracefulshutdown",
        "websitehubname",
    }
)
