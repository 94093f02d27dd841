"""What can go wrong in the durable engine, in its own terms. The management API translates each into its answer."""


class DurableError(Exception):
    """The engine could not do what was asked."""


class InvalidOptions(DurableError):
    """host.json asks for something that the engine does not have."""


class UnsupportedAction(DurableError):
    """An orchestrator asked for an action that the engine does not have."""


class InstanceNotFound(DurableError):
    """There is no instance with this id."""


class InstanceExists(DurableError):
    """An instance with this id is there, in a state in which it must not be replaced."""

    def __init__(self, status: str) -> None:
        super().__init__(f"An Orchestration instance with the status {status} already exists.")


class InstanceFinished(DurableError):
    """The instance is over, so nothing can be sent to it any more."""


class WrongStatus(DurableError):
    """The instance is in a state in which the verb has no meaning."""


class FunctionUnknown(DurableError):
    """The app has no such orchestrator, activity or entity."""


class HistoryUnreadable(DurableError):
    """The history holds one number twice (a wrong decision was committed), so it cannot be shown."""


class EngineStopped(DurableError):
    """The engine is stopped or stopping."""


class TaskHubFailed(DurableError):
    """The database did not take a commit; memory is ahead of what is stored, so the engine goes no further."""


class TaskHubTaken(TaskHubFailed):
    """Another host works on the task hub now: this one was silent for longer than its lease."""
