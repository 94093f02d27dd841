"""Which binding types the stand-in has, and in which direction. Every other one is refused by its name."""

from stand_in.host.function import Binding

SUPPORTED: dict[str, frozenset[str]] = {
    "httptrigger": frozenset({"in"}),
    "http": frozenset({"out"}),
    "timertrigger": frozenset({"in"}),
    "orchestrationtrigger": frozenset({"in"}),
    "activitytrigger": frozenset({"in"}),
    "entitytrigger": frozenset({"in"}),
    "durableclient": frozenset({"in", "out"}),
    "signalrconnectioninfo": frozenset({"in"}),
    "signalr": frozenset({"out"}),
}


def check_binding(function_name: str, binding: Binding) -> list[str]:
    """[] for a binding that the stand-in has, else what is wrong with it."""
    directions = SUPPORTED.get(binding.type.lower())
    if directions is None:
        return [
            f"function {function_name}: binding type {binding.type} is not supported by the stand-in; "
            "see stand_in/README.md"
        ]
    if binding.direction not in directions:
        return [
            f"function {function_name}: binding type {binding.type} is not supported by the stand-in in direction "
            f'"{binding.direction}"; see stand_in/README.md'
        ]
    return []
