"""Route constraints: `int`, `length(2,4)`, `regex(...)`. Each is a test of a value's text.

The list is ASP.NET Core's. A regular expression is matched ignoring case; one that does not compile only fails when a
request reaches it (the real host starts with it and answers 500), so compiling waits until then.
"""

import re
import uuid
import warnings
from collections.abc import Callable
from datetime import datetime

Check = Callable[[str], bool]


def constraint(text: str) -> Check:
    """The test that `text` names. Raises ValueError for a constraint that does not exist or lacks its arguments."""
    match = re.match(r"^\s*([a-zA-Z]+)(?:\((.*)\))?\s*$", text, re.DOTALL)
    if match is None:
        raise ValueError(f"the constraint '{text}' could not be read")
    name, argument = match.group(1).lower(), match.group(2)
    if argument is None and name in _PLAIN:
        return _PLAIN[name]
    if argument is not None and name in _WITH_ARGUMENTS:
        return _WITH_ARGUMENTS[name](argument)
    raise ValueError(f"the constraint reference '{text}' could not be resolved to a type")


def _integer(bits: int) -> Check:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def check(text: str) -> bool:
        return re.fullmatch(r"\s*[+-]?[0-9]+\s*", text) is not None and low <= int(text) <= high

    return check


def _is_decimal(text: str) -> bool:
    return re.fullmatch(r"\s*[+-]?[0-9,]*\.?[0-9]*\s*", text) is not None and any(c.isdigit() for c in text)


def _is_double(text: str) -> bool:
    if text.strip().lower() in ("nan", "infinity", "-infinity", "∞", "-∞"):
        return True
    number = r"\s*[+-]?(?:[0-9][0-9,]*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*"
    return re.fullmatch(number, text) is not None


def _is_guid(text: str) -> bool:
    hexadecimal = "[0-9a-fA-F]"
    dashed = f"{hexadecimal}{{8}}(?:-{hexadecimal}{{4}}){{3}}-{hexadecimal}{{12}}"
    if re.fullmatch(rf"{dashed}|\{{{dashed}\}}|\({dashed}\)|{hexadecimal}{{32}}", text.strip()) is None:
        return False
    uuid.UUID(text.strip(" {}()"))
    return True


_DATE_FORMATS = (
    "%m/%d/%Y",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m-%d-%Y",
    "%Y/%m/%d",
    "%Y-%m",
    "%H:%M",
    "%H:%M:%S",
)


def _is_datetime(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return any(_parses(text, form) for form in _DATE_FORMATS)
    return "-" in text  # fromisoformat also takes 20260101, which .NET does not


def _parses(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


_PLAIN: dict[str, Check] = {
    "int": _integer(32),
    "long": _integer(64),
    "bool": lambda text: text.strip().lower() in ("true", "false"),
    "datetime": _is_datetime,
    "decimal": _is_decimal,
    "double": _is_double,
    "float": _is_double,
    "guid": _is_guid,
    "alpha": lambda text: re.fullmatch("[a-zA-Z]*", text) is not None,
    "required": lambda text: text != "",
    "file": lambda text: "." in text.rsplit("/", 1)[-1],
    "nonfile": lambda text: "." not in text.rsplit("/", 1)[-1],
}


def _length(argument: str) -> Check:
    numbers = _numbers(argument, 1, 2)
    low, high = numbers[0], numbers[-1]
    return lambda text: low <= len(text) <= high


def _min_length(argument: str) -> Check:
    (low,) = _numbers(argument, 1, 1)
    return lambda text: len(text) >= low


def _max_length(argument: str) -> Check:
    (high,) = _numbers(argument, 1, 1)
    return lambda text: len(text) <= high


def _min(argument: str) -> Check:
    (low,) = _numbers(argument, 1, 1)
    return lambda text: _PLAIN["long"](text) and int(text) >= low


def _max(argument: str) -> Check:
    (high,) = _numbers(argument, 1, 1)
    return lambda text: _PLAIN["long"](text) and int(text) <= high


def _range(argument: str) -> Check:
    low, high = _numbers(argument, 2, 2)
    return lambda text: _PLAIN["long"](text) and low <= int(text) <= high


def _regex(argument: str) -> Check:
    def check(text: str) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # "[[a-z]]" means in .NET what it still means in Python
            return re.search(argument, text, re.IGNORECASE) is not None

    return check


def _numbers(argument: str, least: int, most: int) -> list[int]:
    parts = argument.split(",")
    if not least <= len(parts) <= most:
        raise ValueError(f"a constraint got the arguments ({argument}), which are too few or too many")
    return [int(part) for part in parts]


_WITH_ARGUMENTS: dict[str, Callable[[str], Check]] = {
    "length": _length,
    "minlength": _min_length,
    "maxlength": _max_length,
    "min": _min,
    "max": _max,
    "range": _range,
    "regex": _regex,
}
