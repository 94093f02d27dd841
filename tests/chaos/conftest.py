"""Figures that the chaos tests measure: printed at the end of the run, never asserted."""

from collections.abc import Callable

import pytest

_figures: list[str] = []


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
