"""A small loader: the durable functions of a real `DFApp`, called as the Python worker calls them."""

import asyncio
import inspect
import traceback
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import azure.durable_functions as df
from azure.functions._durable_functions import df_loads
from azure.functions.durable_functions import ActivityTriggerConverter
from azure.functions.meta import Datum

from stand_in.durable.app_functions import FunctionFailed

_NAMES = {"orchestrationTrigger": "orchestration", "activityTrigger": "activity", "entityTrigger": "entityName"}


class LoadedApp:
    """Implements `AppFunctions`. Orchestrators run in place: they only compute, by their own contract."""

    def __init__(self, app: df.DFApp) -> None:
        self._functions: dict[str, dict[str, tuple[str, Callable[..., Any]]]] = {kind: {} for kind in _NAMES}
        self._known: dict[str, list[str]] = {kind: [] for kind in _NAMES}
        self._threads = ThreadPoolExecutor(16)
        _hear_the_sdks_notice()
        for function in app.get_functions():
            trigger = function.get_trigger().get_dict_repr()
            kind = str(trigger["type"])
            if kind in _NAMES:
                name = str(trigger.get(_NAMES[kind]) or function.get_function_name())
                self._known[kind].append(name)
                self._functions[kind][name.casefold()] = (trigger["name"], function.get_user_function())

    @property
    def orchestrators(self) -> Collection[str]:
        return self._known["orchestrationTrigger"]

    @property
    def activities(self) -> Collection[str]:
        return self._known["activityTrigger"]

    @property
    def entities(self) -> Collection[str]:
        return self._known["entityTrigger"]

    async def call_orchestrator(self, name: str, trigger_body: str) -> str:
        _, handle = self._functions["orchestrationTrigger"][name.casefold()]
        return str(_reporting(handle, context=trigger_body))

    async def call_activity(self, name: str, instance_id: str, trigger_input: str) -> str:
        parameter, function = self._functions["activityTrigger"][name.casefold()]
        value = ActivityTriggerConverter.decode(Datum(trigger_input, "string"), trigger_metadata=None)
        if inspect.iscoroutinefunction(function):
            try:
                returned = await function(**{parameter: value})
            except Exception as error:
                raise _failed(error) from error
        else:
            loop = asyncio.get_running_loop()
            returned = await loop.run_in_executor(self._threads, lambda: _reporting(function, **{parameter: value}))
        return str(_reporting(lambda: ActivityTriggerConverter.encode(returned, expected_type=None).value))

    async def call_entity(self, name: str, trigger_body: str) -> str:
        _, handle = self._functions["entityTrigger"][name.casefold()]
        loop = asyncio.get_running_loop()
        return str(await loop.run_in_executor(self._threads, lambda: _reporting(handle, context=trigger_body)))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _hear_the_sdks_notice() -> None:
    """The SDK tells once per process, from inside whichever function comes first, that typing may be strict."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        df_loads("null")


def _reporting(function: Callable[..., Any], **arguments: Any) -> Any:
    try:
        return function(**arguments)
    except Exception as error:
        raise _failed(error) from error


def _failed(error: Exception) -> FunctionFailed:
    stack = "".join(traceback.format_tb(error.__traceback__))
    return FunctionFailed(f"Result: Failure\nException: {type(error).__name__}: {error}\nStack: {stack}")
