"""The values of a function's bindings for one call: inputs gathered before it, outputs delivered after it."""

from collections.abc import Mapping
from typing import Any, Protocol

from stand_in.host import conversion
from stand_in.host.errors import BindingFailed
from stand_in.host.expressions import CallData
from stand_in.host.function import Binding, Function


class InputBinding(Protocol):
    """Provides the value of one type of input binding (not of a trigger)."""

    async def read(self, binding: Binding, call: CallData) -> Any:
        """Typed data for the parameter. Raises HostError when the call cannot have it."""


class OutputBinding(Protocol):
    """Delivers what a function set on one type of out binding."""

    async def write(self, binding: Binding, data: Any, call: CallData) -> None:
        """Deliver typed data. Raises HostError when that fails."""


class BindingValues:
    """All bindings that are no triggers, by their type."""

    def __init__(self, inputs: Mapping[str, InputBinding], outputs: Mapping[str, OutputBinding]) -> None:
        self._inputs = {name.lower(): binding for name, binding in inputs.items()}
        self._outputs = {name.lower(): binding for name, binding in outputs.items()}

    async def read_inputs(self, function: Function, call: CallData) -> dict[str, Any]:
        """The arguments of a call, without the trigger's and without the out bindings."""
        arguments: dict[str, Any] = {}
        for binding in function.bindings:
            if binding.is_trigger or binding.direction != "in":
                continue
            data = await self._inputs[binding.type.lower()].read(binding, call)
            arguments[binding.name] = conversion.decode(function.signature.inputs[binding.name], data)
        return arguments

    async def write_outputs(self, function: Function, outputs: Mapping[str, Any], call: CallData) -> None:
        """Deliver what the function set, in the order of its bindings."""
        for binding in function.bindings:
            if binding.name not in outputs:
                continue
            target = self._outputs.get(binding.type.lower())
            if target is None:
                raise BindingFailed(f"function {function.name}: nothing can be sent to a {binding.type} binding")
            await target.write(binding, outputs[binding.name], call)
