"""The app's module: `function_app.py`, loaded by its path, and the one app object in it.

The app root comes first on the import path here (a laptop's checkout must not be shadowed by the folder from which the
stand-in was started); on Azure it comes last, so a root package that shares its name with an installed one is warned
about. Working directory is the app root, as the worker has it.
"""

import importlib.machinery
import importlib.util
import logging
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from stand_in.host.errors import IndexingFailed

logger = logging.getLogger(__name__)

DEFAULT_SCRIPT = "function_app.py"
_SCRIPT_NAME = re.compile(r"^[a-zA-Z0-9_][a-zA-Z0-9_\-]*\.py$")


def app_functions(app_dir: Path, script_name: str) -> list[Any]:
    """Load the app and return its `azure.functions` Function objects, asked for once; [] when there is no script."""
    if not _SCRIPT_NAME.match(script_name):
        raise IndexingFailed(f"InvalidFileNameError: Invalid file name: {script_name}")
    path = app_dir / script_name
    if not path.exists():
        logger.warning(
            "%s has no %s. Apps of function.json folders (the v1 model) are not supported by the stand-in; "
            "see stand_in/README.md",
            app_dir,
            script_name,
        )
        return []
    _warn_of_shadows(app_dir)
    register = _register(_import(path), script_name)
    try:
        functions: list[Any] = register.get_functions()
    except Exception as error:
        raise IndexingFailed(_describe(error, path)) from error
    return functions


def _import(path: Path) -> ModuleType:
    if str(path.parent) not in sys.path[:1]:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise IndexingFailed(f"{path} cannot be loaded as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise IndexingFailed(_describe(error, path)) from error
    return module


def _register(module: ModuleType, script_name: str) -> Any:
    from azure.functions import FunctionRegister

    found: list[Any] = []
    for name in dir(module):
        value = getattr(module, name, None)
        if isinstance(value, FunctionRegister):
            found.append(value)
    if not found:
        raise IndexingFailed(f"ValueError: Could not find top level function app instances in {script_name}.")
    if len(found) > 1:
        kind = type(found[0]).__name__
        raise IndexingFailed(f"ValueError: More than one {kind} or other top level function app instances are defined.")
    return found[0]


def _describe(error: BaseException, path: Path) -> str:
    """The error with its place in the app's own files, and the usual remedy for a missing module."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, ImportError):
        text += f". Is it in requirements.txt, and installed in {sys.prefix}?"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(path.parent)]
    if frames:
        text += f" ({frames[-1].filename}, line {frames[-1].lineno})"
    return text


def _warn_of_shadows(app_dir: Path) -> None:
    installed = [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    roots = {p.stem if p.suffix == ".py" else p.name for p in app_dir.iterdir() if _is_importable(p)}
    for name in sorted(roots):
        spec = importlib.machinery.PathFinder.find_spec(name, installed)
        if spec is not None and spec.origin is not None:
            logger.warning(
                "%s of the app has the name of an installed package (%s). On Azure the installed one is found first.",
                name,
                spec.origin,
            )


def _is_importable(path: Path) -> bool:
    return (path.suffix == ".py" and path.stem.isidentifier()) or (path / "__init__.py").exists()
