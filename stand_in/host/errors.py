"""What can go wrong in the Functions host, from the whole app down to one call.

HostError
├── HostStartFailed      the host is in state Error: every path answers 503
├── IndexingFailed       the app could not be loaded: the host runs, but serves no function
├── BindingFailed        an input could not be provided, or an output not be delivered, for one call
├── ExpressionUnresolved a `{name}` or `%NAME%` of a binding has no value
└── InvocationFailed     user code raised, or returned what cannot be sent
    └── InvocationTimedOut   it took longer than `functionTimeout`
"""


class HostError(Exception):
    """This happened: something the Functions host knows by name."""


class HostStartFailed(HostError):
    """This happened: the host's own configuration, or a route of the app, makes the real host stop with state Error."""


class IndexingFailed(HostError):
    """This happened: the worker could not index the app. On Azure such an app has no functions at all."""


class BindingFailed(HostError):
    """This happened: a binding's service or setting was not there when a call needed it."""


class ExpressionUnresolved(HostError):
    """This happened: an expression in a binding's property names something that this call does not have."""


class InvocationFailed(HostError):
    """This happened: a call of a function failed.

    `text` is what the worker reports: `Result: Failure\\nException: <Type>: <message>\\nStack: ...`. The cause is the
    exception of the user's code, when there was one.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class InvocationTimedOut(InvocationFailed):
    """This happened: a call took longer than host.json's `functionTimeout`."""
