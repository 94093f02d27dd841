"""Names and ids: functions are found ignoring case, an entity's id is `@name@key` with the name in lower case."""

from collections.abc import Collection, Iterable


def find(name: str, known: Iterable[str]) -> str | None:
    """The registered spelling of a function's name, or None."""
    wanted = name.casefold()
    return next((each for each in known if each == name or each.casefold() == wanted), None)


def is_known(name: str, known: Collection[str]) -> bool:
    """Whether a function of that name is registered."""
    return name in known or find(name, known) is not None


def entity_id(name: str, key: str) -> str:
    """The id under which an entity's messages are queued."""
    return f"@{name.lower()}@{key}"


def is_entity_id(instance_id: str) -> bool:
    """Whether an id is an entity's, rather than an orchestration's."""
    return instance_id.startswith("@") and "@" in instance_id[1:]


def entity_name(identifier: str) -> str:
    """The name in an entity's id."""
    return identifier[1:].partition("@")[0]


def entity_key(identifier: str) -> str:
    """The key in an entity's id; it may hold further @ signs."""
    return identifier[1:].partition("@")[2]
