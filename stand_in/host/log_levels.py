"""`logging.logLevel` of host.json, for Python's loggers.

The host's categories are dotted paths, the longest that fits a record decides, and `default` is for the rest. What a
function says is `Function.<name>.User`; what the engine says is `DurableTask`; the rest of the stand-in is `Host`.
"""

import logging
from collections.abc import Mapping

from stand_in.host.invocation import current_invocation

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "information": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "none": logging.CRITICAL + 10,
}


class LogLevels(logging.Filter):
    """Lets through what host.json wants to see. Unknown levels are taken for Information."""

    def __init__(self, levels: Mapping[str, str]) -> None:
        super().__init__()
        self._levels = {name.lower(): _LEVELS.get(level.lower(), logging.INFO) for name, level in levels.items()}

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= self._threshold(_category(record.name).lower())

    def _threshold(self, category: str) -> int:
        while category:
            if category in self._levels:
                return self._levels[category]
            category = category.rpartition(".")[0]
        return self._levels.get("default", logging.INFO)


def _category(logger_name: str) -> str:
    if logger_name.startswith("stand_in.durable"):
        return "DurableTask"
    if logger_name.startswith(("stand_in.", "uvicorn")):
        return "Host"
    context = current_invocation.get()
    return f"Function.{context.function_name}.User" if context is not None else "Function"
