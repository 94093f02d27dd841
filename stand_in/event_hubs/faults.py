"""Faults on demand: the emulator misbehaves as `faults.json` in its state folder says.

    {"reject_sends": 2, "stall_seconds": 5, "cut_after_store": 1}

reject_sends      the next n sends are rejected with com.microsoft:server-busy; nothing of them is stored
cut_after_store   the next n sends are stored, but the connection is cut instead of acknowledging them
stall_seconds     nothing is written to any client for so long, from the next activity on; what arrives is stored

The file is looked at whenever something arrives; a changed file replaces what is left of the last one, no file means no
faults. Write it under another name and rename it, so that it is never seen half written.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

FILE_NAME: Final = "faults.json"


@dataclass(slots=True)
class Faults:
    """What is left to go wrong."""

    path: Path
    monotonic: Callable[[], float]
    reject_sends: int = 0
    cut_after_store: int = 0
    _stalled_until: float = 0.0
    _seen: tuple[int, int, int] | None = None

    def look(self) -> None:
        """Read the file if it changed."""
        try:
            stat = self.path.stat()
            signature = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except FileNotFoundError:
            signature = None
        if signature == self._seen:
            return
        self._seen = signature
        self._apply(_read(self.path) if signature is not None else {})

    def _apply(self, wanted: dict[str, float]) -> None:
        self.reject_sends = int(wanted.get("reject_sends", 0))
        self.cut_after_store = int(wanted.get("cut_after_store", 0))
        self._stalled_until = self.monotonic() + wanted.get("stall_seconds", 0)
        logger.info("Faults from now on: %s", wanted or "none")

    def take_rejection(self) -> bool:
        """Whether this send is to be rejected; counts it."""
        if self.reject_sends <= 0:
            return False
        self.reject_sends -= 1
        return True

    def take_cut(self) -> bool:
        """Whether the connection is to be cut after this send; counts it."""
        if self.cut_after_store <= 0:
            return False
        self.cut_after_store -= 1
        return True

    def stall_left(self) -> float:
        """For how many seconds nothing may be written."""
        return max(0.0, self._stalled_until - self.monotonic())


_KNOWN: Final = ("reject_sends", "stall_seconds", "cut_after_store")


def _read(path: Path) -> dict[str, float]:
    try:
        wanted = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        logger.error("%s cannot be read, so there are no faults: %s", path, error)
        return {}
    if not isinstance(wanted, dict):
        logger.error("%s holds no JSON object, so there are no faults", path)
        return {}
    for name, value in wanted.items():
        if name not in _KNOWN or isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            logger.error("%s: %s=%r is not supported; known: %s, each a number", path, name, value, ", ".join(_KNOWN))
            return {}
    return wanted
