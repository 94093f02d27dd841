"""The rules of a function's signature, with the strictness of the real worker.

Breaking one fails the *whole* app on Azure, so it does here. Binding names are the parameters, `context` aside;
annotations are plain classes or old-style generics (`List[int]` passes, `list[int]`, `Optional[...]` and `X | None` do
not); `Out[...]` belongs to out bindings. Conversions are checked with the converters that azure.functions registers.
"""

import inspect
import typing
from collections.abc import Mapping
from typing import Any

from stand_in.host import conversion
from stand_in.host.errors import IndexingFailed
from stand_in.host.function import Binding, Signature

_GENERIC_ALIAS: type = type(typing.List[int])  # noqa: UP006 - the old-style alias is the point


def read_signature(name: str, call: Any, bindings: typing.Sequence[Binding], *, fastapi_mode: bool) -> Signature:
    """The signature of one function; raises IndexingFailed in the worker's words where there are such."""
    parameters = dict(inspect.signature(call).parameters)
    annotations = typing.get_type_hints(call)
    bound = {binding.name: binding for binding in bindings if binding.name != "$return"}
    for binding in bindings:
        _check_direction(name, binding)
    requires_context = _take_context(name, parameters, bound, annotations)
    missing = set(parameters) - set(bound)
    if missing:
        raise _failure(
            name, f"the following parameters are declared in Python but not in function.json: {_names(missing)}"
        )
    extra = set(bound) - set(parameters)
    if extra:
        raise _failure(
            name, f"the following parameters are declared in function.json but not in Python: {_names(extra)}"
        )
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    for parameter in parameters:
        binding = bound[parameter]
        kind = _check_parameter(name, binding, annotations.get(parameter, inspect.Parameter.empty), fastapi_mode)
        (outputs if binding.direction == "out" else inputs)[parameter] = kind
    returns = _returns(name, bindings, annotations, fastapi_mode)
    return Signature(inputs, outputs, returns, requires_context)


def _check_direction(name: str, binding: Binding) -> None:
    if binding.direction == "inout":
        raise _failure(name, '"inout" bindings are not supported')
    if binding.name == "$return" and binding.direction != "out":
        raise _failure(name, '"$return" binding must have direction set to "out"')


def _take_context(
    name: str, parameters: dict[str, Any], bound: Mapping[str, Binding], annotations: Mapping[str, Any]
) -> bool:
    if "context" not in parameters or "context" in bound:
        return False
    del parameters["context"]
    annotation = annotations.get("context")
    if "context" in annotations and not (isinstance(annotation, type) and annotation.__name__ == "Context"):
        message = f'the "context" parameter is expected to be of type azure.functions.Context, got {annotation!r}'
        if getattr(annotation, "__module__", "").startswith("azure.functions._durable"):
            message += ' (orchestrators and entities must be registered with context_name="context")'
        raise _failure(name, message)
    return True


def _check_parameter(name: str, binding: Binding, annotation: Any, fastapi_mode: bool) -> str:
    """The conversion that serves this parameter, after every check on its annotation."""
    if annotation is inspect.Parameter.empty:
        return binding.type
    is_out = _is_out(annotation)
    expected = annotation
    if is_out:
        arguments = typing.get_args(annotation)
        if len(arguments) != 1:
            raise _failure(name, f"binding {binding.name} has invalid Out annotation {annotation!r}")
        expected = arguments[0]
    if not isinstance(expected, type) and not _is_old_style_generic(expected):
        raise _failure(
            name,
            f"binding {binding.name} has invalid non-type annotation {annotation!r} "
            "(plain classes and old-style generics such as List[int] are accepted)",
        )
    if binding.direction == "out" and not is_out:
        raise _failure(
            name,
            f'binding {binding.name} is declared to have the "out" direction, but its annotation in Python is not '
            "a subclass of azure.functions.Out",
        )
    if binding.direction != "out" and is_out:
        raise _failure(
            name,
            f'binding {binding.name} is declared to have the "in" direction in function.json, but its annotation '
            "is azure.functions.Out in Python",
        )
    kind = binding.type
    if expected in (str, bytes) and not conversion.has_implicit_output(binding.type):
        kind = conversion.GENERIC
    if not _accepts(kind, expected, is_out, fastapi_mode):
        shown = getattr(expected, "__name__", repr(expected))
        hint = ""
        if fastapi_mode and binding.type == "httpTrigger":
            hint = (
                " (the app imports azurefunctions.extensions.http.fastapi, so every HTTP function must take "
                "its Request)"
            )
        raise _failure(
            name,
            f'\'{binding.name}\' binding type "{binding.type}" and dataType "{binding.get("dataType")}" in '
            f"function.json do not match the corresponding function parameter's Python type annotation "
            f'"{shown}"{hint}',
        )
    return kind


def _accepts(kind: str, expected: Any, is_out: bool, fastapi_mode: bool) -> bool:
    try:
        if kind == "httpTrigger" and fastapi_mode:
            from azurefunctions.extensions.base import RequestTrackerMeta

            return bool(RequestTrackerMeta.check_type(expected))
        if is_out:
            return conversion.accepts_output(kind, expected)
        return conversion.accepts_input(kind, expected)
    except TypeError:  # issubclass() arg 1 must be a class: what the worker fails with, too
        return False


def _returns(
    name: str, bindings: typing.Sequence[Binding], annotations: Mapping[str, Any], fastapi_mode: bool
) -> str | None:
    """Which binding encodes the returned value: `$return`, else the last one with an implicit output."""
    explicit = next((binding for binding in bindings if binding.name == "$return"), None)
    if explicit is None:
        implicit = [binding.type for binding in bindings if conversion.has_implicit_output(binding.type)]
        return implicit[-1] if implicit else None
    if "return" in annotations:
        annotation = annotations["return"]
        if not isinstance(annotation, type):
            raise _failure(name, f"has invalid non-type return annotation {annotation!r}")
        if not _accepts_return(explicit.type, annotation, fastapi_mode):
            raise _failure(
                name,
                f'Python return annotation "{annotation.__name__}" does not match binding type "{explicit.type}"',
            )
    return explicit.type


def _accepts_return(kind: str, annotation: type, fastapi_mode: bool) -> bool:
    if kind == "http" and fastapi_mode:
        from azurefunctions.extensions.base import ResponseTrackerMeta

        return bool(ResponseTrackerMeta.check_type(annotation))
    return conversion.accepts_output(kind, annotation)


def _is_out(annotation: Any) -> bool:
    origin = typing.get_origin(annotation) or annotation
    return isinstance(origin, type) and origin.__name__ == "Out"


def _is_old_style_generic(annotation: Any) -> bool:
    if not isinstance(annotation, _GENERIC_ALIAS):
        return False
    origin = typing.get_origin(annotation)
    # Union and Literal are no types here, and Callable is turned down by the worker all the same.
    return isinstance(origin, type) and origin.__name__ != "Callable"


def _names(names: set[str]) -> str:
    return "{" + ", ".join(repr(n) for n in sorted(names)) + "}"


def _failure(name: str, message: str) -> IndexingFailed:
    return IndexingFailed(f"FunctionLoadError: cannot load the {name} function: {message}")
