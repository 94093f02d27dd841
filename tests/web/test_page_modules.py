"""The page's pure modules run under Node, without a browser; their tests are beside this file."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.web.fake_backend import WEB

HERE = Path(__file__).parent


def node() -> str:
    """The path of Node; without it, fail on CI and skip elsewhere."""
    path = shutil.which("node")
    if path is None:
        reason = "no Node: the page's modules cannot be tested"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def test_modules_keep_their_promises_under_node(web_is_installed: None) -> None:
    files = sorted(str(path) for path in HERE.glob("*.test.mjs"))
    assert files
    run = subprocess.run([node(), "--test", *files], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_lock_file_names_no_registry() -> None:
    """Whoever installs uses their own registry."""
    lock = (WEB / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock


def test_the_page_has_no_inline_scripts_or_styles() -> None:
    """The content security policy allows none."""
    for page in WEB.glob("*.html"):
        text = page.read_text()
        assert "style=" not in text
        assert "<style" not in text
        assert " onclick=" not in text
        assert all("src=" in tag.split(">")[0] for tag in text.split("<script")[1:])
