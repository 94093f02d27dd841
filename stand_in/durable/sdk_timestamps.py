"""A quick reader of timestamps for the SDK.

The SDK parses the time of every event of the history in every episode, with a parser for dates in any language: two
thirds of what an episode costs. All these texts come from this engine, in one format, so while an engine runs in the
same process as the SDK it hands it an equal parser for that format. Values, types and time zone are the same ones;
every other text goes to the SDK's own parser.
"""

import re
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

_SDK_MODULE = "azure.durable_functions.models.history.HistoryEvent"
_OURS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z", re.ASCII)


def quicken() -> bool:
    """Give the SDK the quick parser, once; whether the SDK is loaded."""
    module = sys.modules.get(_SDK_MODULE)
    if module is None:
        return False
    parse = module.dt_parse
    if not getattr(parse, "is_quick", False):
        module.dt_parse = quick_parser(parse)  # type: ignore[attr-defined]
    return True


def quick_parser(parse: Callable[..., datetime]) -> Callable[..., datetime]:
    """A parser that is quick for the engine's own texts and leaves all others to `parse`."""
    zone = parse("2026-01-01T00:00:00Z").tzinfo

    def quick(text: Any, *arguments: Any, **options: Any) -> datetime:
        if arguments or options or not isinstance(text, str) or not _OURS.fullmatch(text):
            return parse(text, *arguments, **options)
        return datetime.fromisoformat(text[:-1]).replace(tzinfo=zone)

    quick.is_quick = True  # type: ignore[attr-defined]
    return quick
