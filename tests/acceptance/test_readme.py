"""The README's walk does what it says, word for word."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import NewStack
from tests.running_stack import ROOT

WALK = (ROOT / "README.md").read_text(encoding="utf-8").split("## A walk")[1].split("\n## ")[0]
# A command, and the output that stands below it, if any.
STEP = re.compile(r"```sh\n(.*?)```(?:\n```\n(.*?)```)?", re.DOTALL)


def as_pattern(output: str) -> re.Pattern[str]:
    """The output with `...` standing for anything."""
    return re.compile(".*?".join(map(re.escape, output.strip().split("..."))), re.DOTALL)


@pytest.mark.chaos
def test_the_walk_in_the_readme_does_what_it_says(new_stack: NewStack, tmp_path: Path):
    stack = new_stack()
    steps = STEP.findall(WALK)
    assert len(steps) >= 5
    for command, output in steps:
        # What the reader's own terminal has: this checkout, its environment, the default port and state folder.
        status = f"PYTHONPATH={ROOT} {sys.executable} -m stand_in status --state-dir {stack.state_dir}"
        here = command.replace("http://127.0.0.1:7071", stack.url).replace(
            ".venv/bin/python -m stand_in status", status
        )
        shown = subprocess.run(
            ["bash", "-euc", here], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert shown.returncode == 0, (command, shown.stderr)
        assert as_pattern(output).fullmatch(shown.stdout.strip()), (command, shown.stdout)
