"""Functions as the host sees them: a name, a trigger, bindings, and the Python callable behind them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Binding:
    """One binding as the app declared it.

    `properties` is the JSON that the real worker sends to the host (camel-cased, without nulls). Host-side names are
    compared ignoring case, which is what `get` does.
    """

    name: str
    type: str
    direction: str  # "in" or "out"
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_trigger(self) -> bool:
        return self.type.lower().endswith("trigger")

    def get(self, key: str, default: Any = None) -> Any:
        wanted = key.lower()
        return next((value for name, value in self.properties.items() if name.lower() == wanted), default)


@dataclass(frozen=True, slots=True)
class Signature:
    """What the worker learnt from a function's parameters: which conversion serves which of them.

    A conversion is the name of a binding type, or `generic` where a parameter is annotated with `str` or `bytes`.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    returns: str | None
    requires_context: bool


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the app. With `errors` it is listed but not served; when disabled it answers 404."""

    name: str
    call: Callable[..., Any]
    directory: str
    is_async: bool
    bindings: tuple[Binding, ...]
    signature: Signature
    retry: Mapping[str, Any] | None = None
    is_disabled: bool = False
    is_left_out: bool = False  # host.json has a list of functions, and this one is not on it
    errors: tuple[str, ...] = ()

    @property
    def trigger(self) -> Binding:
        return next(binding for binding in self.bindings if binding.is_trigger)

    @property
    def is_served(self) -> bool:
        return not (self.errors or self.is_disabled or self.is_left_out)
