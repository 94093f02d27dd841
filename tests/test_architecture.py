"""The rules that hold the project together, read from its files: who imports whom, which words are used where, what
may not stand in any file. `docs` explains them; here they are kept."""

import ast
import functools
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TRIGGERS = {"azure.functions", "azure.durable_functions", "azurefunctions.extensions.http.fastapi"}
FUNCTION_PACKAGES = {"http_triggers", "timer_triggers", "orchestrators", "activities", "entities"}

# What a package may import besides the standard library and itself.
IMPORTS: dict[str, set[str]] = {
    "chat": set(),
    "entities": {"chat", "azure.durable_functions"},
    "orchestrators": {"chat", "azure.durable_functions"},
    "activities": {"chat", "adapters", "azure.durable_functions"},  # the client: entities are read through it
    "adapters": {"chat"},  # and one cloud SDK a module, see CLOUD_SDKS
    "http_triggers": {"chat", "adapters", *TRIGGERS},
    "timer_triggers": {"chat", "adapters", *TRIGGERS},
    "operations": {"chat", "adapters"},
    "function_app": {*FUNCTION_PACKAGES, *TRIGGERS, "adapters.clients"},  # which say at start what is not configured
    # and its own requirements; the extension's base knows which kind of HTTP an app has
    "stand_in": {"azure.functions", "azurefunctions.extensions.base"},
}
# Import name -> the service it speaks to. SignalR has no SDK for Python: a token and plain HTTP are spoken to it.
CLOUD_SDKS = {
    "openai": "Azure OpenAI",
    "azure.storage.blob": "blob storage",
    "azure.eventhub": "Event Hubs",
    "azure.durable_functions": "Durable Functions",
    "jwt": "SignalR",
}
# Credentials, errors and transports: beside any of them.
AIOHTTP = {"aiohttp", "yarl", "multidict"}  # aiohttp's own URLs and headers
COMMON = {"azure.core", "azure.identity", "httpx2", *AIOHTTP}
IMPORT_NAMES = {"pyjwt": "jwt"}  # of requirements that are imported by another name


@functools.cache
def project_files() -> tuple[Path, ...]:
    """Every file that is, or would be, handed in."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return tuple(path for name in listing.split("\0") if name and (path := ROOT / name).is_file())


def python_files(*packages: str) -> list[Path]:
    return [
        path
        for path in project_files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0].removesuffix(".py") in packages
    ]


@functools.cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[str]:
    """Dotted names of all modules that a file imports, wherever in it."""
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative imports hide where a thing comes from"
            # `from azure import functions` imports azure.functions.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in allowed)


def foreign_imports(path: Path, package: str) -> list[str]:
    return [
        module
        for module in imported(path)
        if module.split(".")[0] not in sys.stdlib_module_names and not is_within(module, {package})
    ]


def stand_in_requirements() -> set[str]:
    lines = (ROOT / "stand_in" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {line.split("==")[0].strip().lower() for line in lines if "==" in line}
    return {IMPORT_NAMES.get(name, name) for name in names}


@pytest.mark.parametrize("package", IMPORTS)
def test_a_package_imports_only_what_the_table_allows(package: str):
    allowed = set(IMPORTS[package])
    if package == "adapters":
        allowed |= set(CLOUD_SDKS) | COMMON
    if package == "stand_in":
        allowed |= stand_in_requirements() | AIOHTTP
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in python_files(package)
        for module in foreign_imports(path, package)
        if not is_within(module, allowed)
    ]
    assert not wrong


def test_an_adapter_speaks_to_one_service():
    for path in python_files("adapters"):
        modules = list(imported(path))
        services = {service for sdk, service in CLOUD_SDKS.items() if any(is_within(m, {sdk}) for m in modules)}
        assert len(services) <= 1, f"{name_of(path)} speaks to {sorted(services)}"


# What would give another answer when history is replayed, or do something.
NOT_IN_ORCHESTRATORS = {"asyncio", "os", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid"}


def test_orchestrators_have_time_chance_and_effects_from_their_context_alone():
    wrong = []
    for path in python_files("orchestrators"):
        wrong += [f"{name_of(path)}: {module}" for module in imported(path) if is_within(module, NOT_IN_ORCHESTRATORS)]
        wrong += [
            f"{name_of(path)}:{node.lineno} {node.attr}()"
            for node in ast.walk(syntax(path))
            if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
        ]
    assert not wrong


# The app's nouns and the names of its functions. "Turn" and "journal" are also plain English and SQLite's, so of those
# only code and data are searched, not sentences.
DOMAIN_WORDS = re.compile(
    r"chat_turn|chat turn|stream_completion|close_turn|wake_turn|sweep_turns|write_log_record|start_turn|log record"
    r"|unbroken|turn_?id\b|\bturn(Started|Restarted|Redacted|Ended)\b|\bconversations?\b|/ops\b",
    re.IGNORECASE,
)
DOMAIN_NAMES = re.compile(r"(^|_)(turns?|chat|prompts?|conversations?)(_|$)", re.IGNORECASE)
# The model API's own vocabulary; what connects an app to it is named in the table of services.
MODEL_API = "stand_in/azure_openai/"
MODEL_API_WORDS = {"chat", "prompt", "prompts", "conversation", "conversations"}
MODEL_SETTINGS = {"CHAT_MODEL_DEPLOYMENT_NAME"}


def names_in(path: Path) -> Iterator[tuple[int, str]]:
    """Identifiers of a file, and those of its strings that look like one."""
    for node in ast.walk(syntax(path)):
        name = getattr(node, "name", None) or getattr(node, "id", None) or getattr(node, "attr", None)
        name = name or getattr(node, "arg", None)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            name = node.value
        if isinstance(name, str):
            yield getattr(node, "lineno", 0), name


def test_the_stand_in_speaks_none_of_the_domains_words():
    wrong = []
    for path in project_files():
        where = name_of(path)
        if not where.startswith("stand_in/") or path.suffix not in {".py", ".sql", ".json", ".js", ".html"}:
            continue
        free = MODEL_API_WORDS if where.startswith(MODEL_API) else set()
        found = [(match.start(), match[0]) for match in DOMAIN_WORDS.finditer(path.read_text(encoding="utf-8"))]
        wrong += [f"{where}: {word!r} at {at}" for at, word in found if word.lower() not in free]
        if path.suffix == ".py":
            names = ((line, name, match[2]) for line, name in names_in(path) for match in DOMAIN_NAMES.finditer(name))
            wrong += [
                f"{where}:{line} {name}"
                for line, name, word in names
                if word.lower() not in free and name not in MODEL_SETTINGS
            ]
    assert not wrong


# Written in pieces, so that this file does not name them.
REGISTRIES = ("pypi." + "org", "files.python" + "hosted.org", "registry." + "npmjs.org", "registry." + "yarnpkg.com")
INDEX_OPTION = re.compile(r"--(extra-)?index" + r"-url|(?m:^\s*registry\s*=)|\"resolved\"" + r":\s*\"https?://")
MACHINE_PATH = re.compile(
    r"(?<![\w.:/}~-])/(" + "|".join(["work", "farm", "root", "Users", "home/(?!site/)\\w+"]) + ")/"
)
MACHINE_VENV = "/tmp" + "/venv"


def texts() -> Iterator[tuple[str, str]]:
    for path in project_files():
        try:
            yield name_of(path), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            assert path.suffix in {".png", ".ico", ".woff2", ".bin", ".gif"}, f"{name_of(path)} is not text"


def test_no_file_names_a_registry_or_a_place_on_somebodys_machine():
    wrong = []
    for where, text in texts():
        wrong += [f"{where}: {host}" for host in REGISTRIES if host in text]
        wrong += [
            f"{where}: {pattern.search(text)}" for pattern in (INDEX_OPTION, MACHINE_PATH) if pattern.search(text)
        ]
        wrong += [f"{where}: {MACHINE_VENV}"] if MACHINE_VENV in text else []
    assert not wrong


def test_no_link_is_handed_in():
    """A link leads to a place on the machine where it was made."""
    modes = subprocess.run(["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    assert [line for line in modes.splitlines() if line.startswith("120000")] == []


def test_no_module_is_longer_than_a_reader_can_hold():
    lines = {name_of(path): path.read_text(encoding="utf-8").count("\n") for path in python_files(*IMPORTS)}
    assert {where: count for where, count in lines.items() if count > 400} == {}


def test_every_folder_of_python_is_a_package():
    """A folder without `__init__.py` would be merged with an installed one of the same name."""
    folders = {path.parent for path in project_files() if path.suffix == ".py"} - {ROOT}
    apps = ROOT / "tests" / "apps"  # apps to be loaded by path, as Azure loads one
    assert [name_of(f) for f in folders if apps not in f.parents and not (f / "__init__.py").exists()] == []


def test_root_packages_are_named_as_nothing_that_is_installed():
    """On Azure the app root comes last on the import path: an installed package of the same name would win."""
    ours = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in project_files() if path.suffix == ".py"}
    installed = set(importlib.metadata.packages_distributions()) | set(sys.stdlib_module_names)
    # A requirement installs its own `tests`; ours are not deployed, and in development the root comes first.
    assert (ours & installed) - {"tests"} == set()


SETTING = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|AzureWebJobs\w+|AzureSignalR\w+|WEBSITE_\w+")


def settings_read() -> set[str]:
    """Names of app settings: what looks like one in the module that alone reads them, and in the sample."""
    sample = json.loads((ROOT / "local.settings.sample.json").read_text(encoding="utf-8"))
    names = set(sample["Values"])
    for path in python_files("adapters"):
        if path.name == "settings.py":
            constants = [node.value for node in ast.walk(syntax(path)) if isinstance(node, ast.Constant)]
            names |= {value for value in constants if isinstance(value, str) and SETTING.fullmatch(value)}
    return names


def test_every_setting_is_documented_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert sorted(name for name in settings_read() if f"`{name}`" not in readme) == []


def test_the_environment_is_read_in_one_place_of_the_app():
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in python_files("function_app", "chat", "adapters", *FUNCTION_PACKAGES)
        if path != ROOT / "adapters" / "settings.py"
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    ]
    assert not wrong
