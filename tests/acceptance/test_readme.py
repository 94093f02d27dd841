"""What the documents tell people to type does what they say, word for word."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import NewStack
from tests.running_stack import ROOT, RunningStack

WALK = ("README.md", "## A walk")
READING = ("docs/wire-protocol.md", "## Reading with curl")
# A command, and the output that stands below it, if any.
STEP = re.compile(r"```sh\n(.*?)```(?:\n```\n(.*?)```)?", re.DOTALL)


def as_pattern(output: str) -> re.Pattern[str]:
    """The output with `...` standing for anything."""
    return re.compile(".*?".join(map(re.escape, output.strip().split("..."))), re.DOTALL)


def steps(document: str, heading: str) -> list[tuple[str, str]]:
    """The commands of a section, with what they print."""
    section = (ROOT / document).read_text(encoding="utf-8").split(heading)[1].split("\n## ")[0]
    return STEP.findall(section)


def type_in(stack: RunningStack, folder: Path, document: str, heading: str) -> None:
    """Do what the section says, in a reader's own folder."""
    for command, output in steps(document, heading):
        # What the reader's own terminal has: this checkout, its environment, the default port and state folder.
        status = f"PYTHONPATH={ROOT} {sys.executable} -m stand_in status --state-dir {stack.state_dir}"
        here = command.replace("http://127.0.0.1:7071", stack.url).replace(
            ".venv/bin/python -m stand_in status", status
        )
        shown = subprocess.run(
            ["bash", "-euc", here], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert shown.returncode == 0, (command, shown.stderr)
        assert as_pattern(output).fullmatch(shown.stdout.strip()), (command, shown.stdout)


@pytest.mark.chaos
def test_the_walk_in_the_readme_does_what_it_says(new_stack: NewStack, tmp_path: Path):
    assert len(steps(*WALK)) >= 5
    type_in(new_stack(), tmp_path, *WALK)


def test_reading_with_curl_shows_what_the_wire_protocol_says(stack: RunningStack, tmp_path: Path):
    assert len(steps(*READING)) >= 4
    type_in(stack, tmp_path, *READING)
