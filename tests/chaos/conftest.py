"""A stack to kill services of, and figures that are measured on the way: printed at the end, never asserted."""

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import own_stack
from tests.running_stack import RunningStack

_figures: list[str] = []


@pytest.fixture(scope="session")
def _worn_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with own_stack(tmp_path_factory.mktemp("chaos")) as running:
        yield running


@pytest.fixture
def killable(_worn_stack: RunningStack) -> RunningStack:
    """A ready stack whose services may be killed, each by few tests: one that dies five times in a minute stops it."""
    _worn_stack.wait_ready()
    return _worn_stack


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say a figure in the summary of the run."""
    name: str = request.node.name
    return lambda figure: _figures.append(f"{name}: {figure}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("figures of the chaos tests")
        for figure in _figures:
            terminalreporter.write_line(figure)
