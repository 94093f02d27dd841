"""An event loop whose clock jumps: nothing is waited for, so an hour takes as long as its work does.

For code that only waits for timers and for itself. When nothing is ready, the clock moves to the next timer.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Waits for nobody: what it was asked to wait is what it adds to the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Everybody waits, and no timer is set: this would wait for ever.")
        self.now += max(timeout, 0.0)
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, jumping: _Jumping) -> None:
        super().__init__(jumping)
        self._jumping = jumping

    def time(self) -> float:
        return self._jumping.now

    def be_busy(self, seconds: float) -> None:
        self._jumping.now += seconds


def be_busy(seconds: float) -> None:
    """Time passes and nobody runs, as when the loop has other work to do."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _VirtualLoop)
    loop.be_busy(seconds)


def run_in_virtual_time(story: Coroutine[Any, Any, T]) -> T:
    """Run to its end; raises RuntimeError when it would never come."""
    with asyncio.Runner(loop_factory=lambda: _VirtualLoop(_Jumping())) as runner:
        return runner.run(story)
