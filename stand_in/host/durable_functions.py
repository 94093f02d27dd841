"""The app's durable functions, as the engine calls them: JSON text in, JSON text out.

They are addressed by `orchestration=`, `activity=`, `entity_name=` when given, else by the function's name, ignoring
case. Orchestrators and entities are plain functions after the SDK's decoration and run in the thread pool.
"""

from collections.abc import Collection

from stand_in.durable.app_functions import FunctionFailed
from stand_in.host import conversion
from stand_in.host.binding_values import BindingValues
from stand_in.host.errors import BindingFailed, ExpressionUnresolved, InvocationFailed
from stand_in.host.expressions import CallData
from stand_in.host.function import Function
from stand_in.host.function_index import FunctionIndex
from stand_in.host.invocation import Invocations, failure_text, new_context

_NAME_PROPERTIES = {
    "orchestrationTrigger": "orchestration",
    "activityTrigger": "activity",
    "entityTrigger": "entityName",
}


class DurableFunctions:
    """Implements `stand_in.durable.app_functions.AppFunctions` for one app."""

    def __init__(self, index: FunctionIndex, invocations: Invocations, values: BindingValues) -> None:
        self._invocations = invocations
        self._values = values
        self._by_kind: dict[str, dict[str, tuple[str, Function]]] = {kind: {} for kind in _NAME_PROPERTIES}
        for function in index.served:
            name_property = _NAME_PROPERTIES.get(function.trigger.type)
            if name_property is not None:
                name = str(function.trigger.get(name_property) or function.name)
                self._by_kind[function.trigger.type][name.lower()] = (name, function)

    @property
    def orchestrators(self) -> Collection[str]:
        return self._names("orchestrationTrigger")

    @property
    def activities(self) -> Collection[str]:
        return self._names("activityTrigger")

    @property
    def entities(self) -> Collection[str]:
        return self._names("entityTrigger")

    async def call_orchestrator(self, name: str, trigger_body: str) -> str:
        return await self._call("orchestrationTrigger", name, trigger_body)

    async def call_activity(self, name: str, instance_id: str, trigger_input: str) -> str:
        return await self._call("activityTrigger", name, trigger_input)

    async def call_entity(self, name: str, trigger_body: str) -> str:
        return await self._call("entityTrigger", name, trigger_body)

    def _names(self, kind: str) -> Collection[str]:
        return [name for name, _ in self._by_kind[kind].values()]

    async def _call(self, kind: str, name: str, body: str) -> str:
        found = self._by_kind[kind].get(name.lower())
        if found is None:
            raise FunctionFailed(f"The function '{name}' doesn't exist, is disabled, or has no {kind}.")
        function = found[1]
        call = CallData(function.name, body=lambda: body)
        context = new_context(function)
        try:
            arguments = await self._values.read_inputs(function, call)
            trigger = function.trigger
            arguments[trigger.name] = conversion.decode(
                function.signature.inputs[trigger.name], conversion.datum(body, "string")
            )
            outcome = await self._invocations.run(function, arguments, context)
            result = conversion.encode(function.signature.returns or kind, outcome.value)
            await self._values.write_outputs(function, outcome.outputs, call)
        except InvocationFailed as failed:
            raise FunctionFailed(failed.text) from failed
        except (BindingFailed, ExpressionUnresolved, TypeError, ValueError) as error:
            raise FunctionFailed(failure_text(error)) from error
        return _json_text(result)


def _json_text(data: object) -> str:
    """The text of a returned value; a generic binding's plain string is already what the extension reads."""
    value = getattr(data, "value", None)
    if value is None:
        return "null"
    return value if isinstance(value, str) else str(value)
