"""Conversion between what the host holds (typed data) and what a function sees.

Native bindings use the converters that `azure.functions` registers, as the real worker does; any other binding type is
*generic*: text and bytes pass unchanged. A generic binding has an implicit output, `durableClient` has not.
"""

from typing import Any

GENERIC = "generic"


def datum(value: Any, kind: str | None) -> Any:
    """Typed data as the converters read it: a value and the name of its kind (`string`, `json`, `bytes`, `http`...)."""
    from azure.functions.meta import Datum

    return Datum(value, kind)


def has_implicit_output(binding_type: str) -> bool:
    converter = _converter(binding_type)
    if converter is None:
        return binding_type != "durableClient"
    return bool(getattr(converter, "has_implicit_output", lambda: False)())


def accepts_input(binding_type: str, annotation: Any) -> bool:
    converter = _converter(binding_type)
    if converter is None:
        return issubclass(annotation, str | bytes)
    check = getattr(converter, "check_input_type_annotation", None)
    return bool(check(annotation)) if check is not None else False


def accepts_output(binding_type: str, annotation: Any) -> bool:
    converter = _converter(binding_type)
    if converter is None:
        return issubclass(annotation, str | bytes | bytearray)
    check = getattr(converter, "check_output_type_annotation", None)
    return bool(check(annotation)) if check is not None else False


def decode(binding_type: str, data: Any, metadata: dict[str, Any] | None = None) -> Any:
    """What the function sees of `data`. Raises TypeError where the worker does not support the combination."""
    converter = _converter(binding_type)
    if converter is None:
        return _decode_generic(data)
    try:
        return converter.decode(data, trigger_metadata=metadata or {})
    except NotImplementedError:
        raise TypeError(
            "unable to decode incoming TypedData: unsupported combination of TypedData field "
            f"{data.type!r} and expected binding type {binding_type}"
        ) from None


def encode(binding_type: str, value: Any) -> Any:
    """The typed data of a value that a function returned or set. Raises TypeError for what cannot be sent."""
    converter = _converter(binding_type)
    try:
        return _encode_generic(value) if converter is None else converter.encode(value, expected_type=None)
    except NotImplementedError:
        raise TypeError(
            f'unable to encode outgoing TypedData: unsupported type "{binding_type}" for Python type '
            f'"{type(value).__name__}"'
        ) from None


def _converter(binding_type: str) -> Any:
    from azure.functions.meta import get_binding_registry

    registry: Any = get_binding_registry
    return registry().get(binding_type)


def _decode_generic(data: Any) -> Any:
    if data is None or data.type is None:
        return None
    if data.type not in ("string", "bytes", "json"):
        raise ValueError('unexpected type of data received for the "generic" binding ', repr(data.type))
    return data.value


_GENERIC_KINDS: tuple[tuple[type, str], ...] = (
    (str, "string"),
    (bytes, "bytes"),
    (dict, "dict"),
    (list, "list"),
    (int, "int"),
    (float, "double"),
)


def _encode_generic(value: Any) -> Any:
    if value is None:
        return datum(None, None)
    if isinstance(value, bytearray):
        value = bytes(value)
    for python_type, kind in _GENERIC_KINDS:
        if isinstance(value, python_type):
            return datum(value, kind)
    raise NotImplementedError
