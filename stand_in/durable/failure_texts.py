"""Texts of failures, to the letter: programs search them, and operators recognise them.

Recorded from the Durable extension 3.19.0; the wording of .NET included.
"""

from collections.abc import Collection

from stand_in.durable.actions import FAILURE_MARKER
from stand_in.durable.credentials import hide_credentials
from stand_in.durable.json_text import compact

_CHANGED = "Was a change made to the orchestrator code after this instance had already started running?"
_NOT_YET = f"but the current replay execution hasn't (yet?) scheduled this task. {_CHANGED}"
NON_DETERMINISTIC = "Non-Deterministic workflow detected: "
VERSION_MISMATCH = "VersionMismatch: Orchestration version did not comply with Worker Versioning"


def orchestrator_failed(name: str, error: str) -> str:
    """The output of an orchestration whose function raised."""
    return f"Orchestrator function '{name}' failed: {error}"


def orchestrator_crashed(name: str, worker_text: str) -> str:
    """The same for an exception that did not come through the SDK: the host's wrapping shows."""
    return orchestrator_failed(name, f"One or more errors occurred. ({worker_text})")


def unknown_function(name: str, kind: str, known: Collection[str]) -> str:
    """`kind` is orchestrator, activity or entity."""
    article = "a" if kind[0] not in "aeiou" else "an"
    names = ", ".join(f"'{each}'" for each in known)
    return (
        f"The function '{name}' doesn't exist, is disabled, or is not {article} {kind} function. "
        f"Additional info: The following are the known {kind} functions: {names}."
    )


def custom_status_too_big(kilobytes: int) -> str:
    """The custom status is over its limit of 16 KB in UTF-16."""
    return (
        "The UTF-16 size of the JSON-serialized payload must not exceed 16 KB. "
        f"The current payload size is {kilobytes} KB."
    )


def missing_activity(task_id: int, name: str, version: str) -> str:
    """The history has an activity that the replay does not reach."""
    return (
        "A previous execution of this orchestration scheduled an activity task with sequence ID "
        f"{task_id} and name '{name}' (version '{version}'), {_NOT_YET}"
    )


def missing_timer(task_id: int) -> str:
    """The history has a timer that the replay does not reach."""
    return (
        f"A previous execution of this orchestration scheduled a timer task with sequence number {task_id} {_NOT_YET}"
    )


def missing_sub_orchestration(task_id: int, name: str, version: str | None, instance_id: str) -> str:
    """The history has a sub-orchestration that the replay does not reach."""
    return (
        f"A previous execution of this orchestration scheduled a sub-orchestration task with sequence ID {task_id} "
        f"and name '{name}' (version '{version or ''}', instance ID '{instance_id}'), {_NOT_YET}"
    )


def missing_event(task_id: int, name: str, instance_id: str) -> str:
    """The history has a request to an entity that the replay does not reach."""
    return (
        f"A previous execution of this orchestration scheduled a send event task with sequence ID {task_id}, "
        f"type 'EventSent' name '{name}', instance ID '{instance_id}', {_NOT_YET}"
    )


def other_kind(scheduled: str, action_class: str) -> str:
    """The history has something else under this number. `scheduled` is, for instance, `an activity task`."""
    return (
        f"A previous execution of this orchestration scheduled {scheduled} "
        f"but the current orchestration replay instead produced a {action_class} action with this sequence number. "
        f"{_CHANGED}"
    )


def other_name(task_id: int, kind: str, name: str, now: str) -> str:
    """The history has another name under this number. The two spaces are the extension's."""
    article = "an" if kind[0] in "aeiou" else "a"
    return (
        f"A previous execution of this orchestration scheduled {article} {kind} task with sequence number {task_id} "
        f"named '{name}', but the current orchestration replay instead scheduled {article} {kind} task named '{now}' "
        f"with this sequence number.  {_CHANGED}"
    )


def activity_failed(name: str, worker_text: str) -> tuple[str, str]:
    """Reason and Details of a TaskFailed event, from what the worker reported."""
    message, stack = split_worker_text(worker_text)
    message = hide_credentials(message)
    details = {
        "$type": "System.Exception, System.Private.CoreLib",
        "ClassName": "System.Exception",
        "Message": message,
        "Data": None,
        "InnerException": {
            "$type": "Microsoft.Azure.WebJobs.Script.Workers.Rpc.RpcException, Microsoft.Azure.WebJobs.Script",
            "IsUserException": False,
            "RemoteStackTrace": stack,
            "RemoteMessage": message,
            "RemoteTypeName": None,
            "Message": f"Result: Failure\nException: {message}\nStack: {stack}",
            "Data": {"$type": "System.Collections.ListDictionaryInternal, System.Private.CoreLib"},
            "InnerException": None,
            "HelpLink": None,
            "Source": None,
            "HResult": -2146233088,
            "StackTrace": None,
        },
        "HelpURL": None,
        "StackTraceString": None,
        "RemoteStackTraceString": None,
        "RemoteStackIndex": 0,
        "ExceptionMethod": None,
        "HResult": -2146233088,
        "Source": None,
        "WatsonBuckets": None,
    }
    return f"Activity function '{name}' failed: {message}", compact(details)


def split_worker_text(worker_text: str) -> tuple[str, str]:
    """The exception and the stack in `Result: Failure\\nException: ...\\nStack: ...`; a message may have lines too."""
    head, found, stack = worker_text.rpartition("\nStack: ")
    if not found:
        head, stack = worker_text, ""
    _, found, message = head.partition("\nException: ")
    return (message if found else head), stack


def reported_state(worker_text: str) -> str | None:
    """The JSON that the SDK appends to the message when an orchestrator raises, or None."""
    message, _ = split_worker_text(worker_text)
    # The last marker is the SDK's: an earlier one is text of a failure that is reported.
    _, found, state = message.rpartition(FAILURE_MARKER)
    return state if found else None
