"""Fixtures for tests of the whole: a stack to share, and stacks to break."""

import fnmatch
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from tests.running_stack import ROOT, RunningStack

APPS = ROOT / "tests" / "apps"
_running: list[RunningStack] = []


class NewStack(Protocol):
    """Starts a stack and waits until it is ready, unless told not to; by default with the project's own app."""

    def __call__(
        self,
        app: Path | None = None,
        *,
        state_dir: Path | None = None,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = ("--free-ports",),
        wait: bool = True,
    ) -> RunningStack: ...


def deployed_copy(folder: Path) -> Path:
    """The project's app as Azure gets it, without what `.funcignore` leaves out, and with settings of its own.

    Links, so that it is the same code; a copy, so that a developer's `local.settings.json` with real services in it is
    neither read nor written.
    """
    folder.mkdir()
    ignored = [line.rstrip("/") for line in (ROOT / ".funcignore").read_text().splitlines() if line]
    for entry in ROOT.iterdir():
        if not any(fnmatch.fnmatch(entry.name, pattern) for pattern in ignored):
            (folder / entry.name).symlink_to(entry)
    shutil.copy(ROOT / "local.settings.sample.json", folder)
    return folder


@contextmanager
def own_stack(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[RunningStack]:
    """A stack with the project's app, ready; failed tests show its console. It may be killed as often as one likes."""
    app, options = deployed_copy(folder / "app"), ("--free-ports", "--keep-restarting")
    with RunningStack(app, folder / "state", environment=environment, options=options) as running:
        _running.append(running)
        try:
            running.wait_ready()
            yield running
        finally:
            _running.remove(running)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One stack with the project's app, ready, shared by all tests that do not break it."""
    with own_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def new_stack(tmp_path: Path) -> Iterator[NewStack]:
    """Stacks of a test's own, to kill and to start again on the same state folder."""
    started: list[RunningStack] = []

    def start(
        app: Path | None = None,
        *,
        state_dir: Path | None = None,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = ("--free-ports",),
        wait: bool = True,
    ) -> RunningStack:
        if app is None:
            app = tmp_path / "app"
            app = app if app.exists() else deployed_copy(app)
        running = RunningStack(app, state_dir or tmp_path / "state", environment=environment, options=options)
        started.append(running)
        _running.append(running)
        if wait:
            running.wait_ready()
        return running

    yield start
    for running in started:
        running.stop()
        _running.remove(running)


@pytest.fixture
def copied_app(tmp_path: Path) -> Callable[[str], Path]:
    """An app of `tests/apps`, in a folder where it may write its settings."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(APPS / name, tmp_path / name))

    return copy


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what its stacks had to say."""
    report = yield
    if report.failed:
        for running in _running:
            report.sections.append((f"console of the stack in {running.state_dir}", running.output[-8000:]))
    return report
