"""Route templates, as ASP.NET Core has them: `items/{id:int}/{name?}/{*rest}`.

A template is a list of segments, a segment a list of literals and parameters. Literals are compared ignoring case, a
trailing slash means nothing, values are text whatever the constraint. A segment made of several parts
(`{name}.{ext?}`, `v{major}`) is matched from its right end, so the last literal found wins. Only a whole segment may be
optional or a catch-all, and a template error stops the real host: HostStartFailed says so in its words.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from stand_in.host.errors import HostStartFailed
from stand_in.host.route_constraints import constraint


@dataclass(frozen=True, slots=True)
class Parameter:
    """`{name:constraint=default?}`; `is_catch_all` for `{*name}` and `{**name}`."""

    name: str
    constraints: tuple[Callable[[str], bool], ...] = ()
    default: str | None = None
    is_optional: bool = False
    is_catch_all: bool = False


Segment = tuple["str | Parameter", ...]


@dataclass(frozen=True, slots=True)
class RouteTemplate:
    """A parsed template. `match` takes a decoded path without its leading slash."""

    text: str
    segments: tuple[Segment, ...]

    def match(self, path: str) -> dict[str, str] | None:
        """The route's values, or None when the path is not of this shape."""
        pieces = path.split("/")
        parts = pieces[:-1] if pieces[-1] == "" else pieces
        values: dict[str, str] = {}
        for index, segment in enumerate(self.segments):
            whole = segment[0] if len(segment) == 1 else None
            if isinstance(whole, Parameter) and whole.is_catch_all:
                return _take_rest(whole, pieces[index:], values)
            if index >= len(parts):
                if not isinstance(whole, Parameter) or not _may_be_absent(whole):
                    return None
                if whole.default is not None:
                    values[whole.name] = whole.default
                continue
            if not _match_segment(segment, parts[index], values):
                return None
        return values if len(parts) <= len(self.segments) else None


def parse_template(text: str, function_name: str) -> RouteTemplate:
    """Parse; raises HostStartFailed naming the function and what is wrong."""
    try:
        return RouteTemplate(text, _parse(text))
    except _TemplateError as error:
        raise HostStartFailed(
            f"An error occurred while creating the route with name '{function_name}' and template '{text}'. {error}"
        ) from None


class _TemplateError(Exception):
    pass


def _parse(text: str) -> tuple[Segment, ...]:
    trimmed = text[2:] if text.startswith("~/") else text
    if trimmed.startswith("/"):
        trimmed = trimmed[1:]
    if trimmed.endswith("/"):
        trimmed = trimmed[:-1]
    if trimmed == "":
        return ()
    segments = []
    seen: set[str] = set()
    for piece in _split(trimmed):
        if piece == "":
            raise _TemplateError(
                "The route template separator character '/' cannot appear consecutively. "
                "It must be separated by either a parameter or a literal value."
            )
        segment = _parse_segment(piece)
        for part in segment:
            if isinstance(part, Parameter):
                if part.name.lower() in seen:
                    raise _TemplateError(
                        f"The route parameter name '{part.name}' appears more than one time in the route template."
                    )
                seen.add(part.name.lower())
        segments.append(segment)
    for segment in segments[:-1]:
        if any(isinstance(part, Parameter) and part.is_catch_all for part in segment):
            raise _TemplateError("A catch-all parameter can only appear as the last segment of the route template.")
    return tuple(segments)


def _split(text: str) -> list[str]:
    """Split at slashes outside braces (a regex constraint may hold one)."""
    pieces, depth, start = [], 0, 0
    for index, character in enumerate(text):
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
        elif character == "/" and depth <= 0:
            pieces.append(text[start:index])
            start = index + 1
    return [*pieces, text[start:]]


def _parse_segment(piece: str) -> Segment:
    parts: list[str | Parameter] = []
    index = 0
    literal = ""
    while index < len(piece):
        character = piece[index]
        if character in "{}" and piece[index : index + 2] == character * 2:
            literal += character
            index += 2
        elif character == "{":
            end = _closing_brace(piece, index)
            if literal:
                parts.append(_literal(literal))
                literal = ""
            elif parts:
                raise _TemplateError(
                    "A path segment cannot contain two consecutive parameters. They must be separated by a '/' or by "
                    "a literal string."
                )
            parts.append(_parse_parameter(piece[index + 1 : end]))
            index = end + 1
        elif character == "}":
            raise _TemplateError(
                "There is an incomplete parameter in the route template. Check that each '{' character has a matching "
                "'}' character."
            )
        else:
            literal += character
            index += 1
    if literal:
        parts.append(_literal(literal))
    _check_segment(parts, piece)
    return tuple(parts)


def _check_segment(parts: list[str | Parameter], piece: str) -> None:
    if len(parts) == 1:
        return
    for index, part in enumerate(parts):
        if not isinstance(part, Parameter):
            continue
        if part.is_catch_all:
            raise _TemplateError(
                "A path segment that contains more than one section, such as a literal section or a parameter, cannot "
                "contain a catch-all parameter."
            )
        if part.is_optional and (index != len(parts) - 1 or parts[index - 1] != "."):
            raise _TemplateError(
                f"In the segment '{piece}', the optional parameter '{part.name}' must be the last one and be preceded "
                "by a period."
            )


def _literal(text: str) -> str:
    if "?" in text:
        raise _TemplateError(f"The literal section '{text}' is invalid. Literal sections cannot contain the '?'.")
    return text


def _closing_brace(piece: str, start: int) -> int:
    """The brace that ends the parameter; doubled ones inside belong to a regex."""
    index = start + 1
    while index < len(piece):
        if piece[index] in "{}" and piece[index : index + 2] == piece[index] * 2:
            index += 2
            continue
        if piece[index] == "}":
            return index
        if piece[index] == "{":
            break
        index += 1
    raise _TemplateError(
        "There is an incomplete parameter in the route template. Check that each '{' character has a matching '}' "
        "character."
    )


def _parse_parameter(text: str) -> Parameter:
    body = text.replace("{{", "{").replace("}}", "}")
    stars = len(body) - len(body.lstrip("*"))
    if stars > 2:
        raise _TemplateError(f"The route parameter name '{body}' is invalid.")
    body = body[stars:]
    is_optional = body.endswith("?")
    body = body[:-1] if is_optional else body
    name, default = re.match(r"^([^:=]*)(.*)$", body, re.DOTALL).groups()  # type: ignore[union-attr]
    constraints, default = _constraints_and_default(default)
    if not name or any(character in name for character in "/{}?*"):
        raise _TemplateError(
            f"The route parameter name '{name}' is invalid. Route parameter names must be non-empty and cannot "
            "contain these characters: '{', '}', '/'."
        )
    if is_optional and (stars or default is not None):
        what = "A catch-all parameter cannot be marked optional." if stars else "An optional parameter has a default."
        raise _TemplateError(what)
    try:
        checks = tuple(constraint(spec) for spec in constraints)
    except ValueError as error:
        raise _TemplateError(f"The constraint entry '{name}' - {error}") from None
    return Parameter(name, checks, default, is_optional, stars > 0)


def _constraints_and_default(text: str) -> tuple[list[str], str | None]:
    """Split `:int:range(1,2)=5`; parentheses keep colons and equals signs together."""
    constraints: list[str] = []
    depth, current, kind = 0, "", ""
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == ":" and depth <= 0 and kind != "=":
            if kind == ":":
                constraints.append(current)
            kind, current = ":", ""
        elif character == "=" and depth <= 0 and kind != "=":
            if kind == ":":
                constraints.append(current)
            kind, current = "=", ""
        else:
            current += character
    if kind == ":":
        constraints.append(current)
    return constraints, current if kind == "=" else None


def _may_be_absent(parameter: Parameter) -> bool:
    return parameter.is_optional or parameter.default is not None


def _take_rest(parameter: Parameter, rest: list[str], values: dict[str, str]) -> dict[str, str] | None:
    text = "/".join(rest)
    if text.startswith("/"):
        return None
    if not text:
        if parameter.default is not None:
            values[parameter.name] = parameter.default
        return values
    if not all(check(text) for check in parameter.constraints):
        return None
    values[parameter.name] = text
    return values


def _match_segment(segment: Segment, text: str, values: dict[str, str]) -> bool:
    if len(segment) == 1:
        part = segment[0]
        if isinstance(part, str):
            return part.lower() == text.lower()
        return _accept(part, text, values)
    return _match_parts(segment, text, values)


def _accept(parameter: Parameter, text: str, values: dict[str, str]) -> bool:
    if not text or not all(check(text) for check in parameter.constraints):
        return False
    values[parameter.name] = text
    return True


def _match_parts(segment: Segment, text: str, values: dict[str, str]) -> bool:
    """Match a segment of several parts from the right: each literal at its last possible place."""
    last = segment[-1]
    if isinstance(last, Parameter) and last.is_optional:
        found: dict[str, str] = {}
        if _match_parts((*segment[:-1], Parameter(last.name, last.constraints)), text, found):
            values.update(found)
            return True
        return _match_parts(segment[:-2], text, values)  # without the optional part and its period
    end = len(text)
    taken: list[tuple[Parameter, str]] = []
    pending: Parameter | None = None
    for part in reversed(segment):
        if isinstance(part, Parameter):
            pending = part
            continue
        limit = end - 1 if pending is not None else end
        at = text.lower().rfind(part.lower(), 0, limit)
        if at < 0 or (pending is None and at + len(part) != end):
            return False
        if pending is not None:
            taken.append((pending, text[at + len(part) : end]))
            pending = None
        end = at
    if pending is not None:
        taken.append((pending, text[:end]))
    elif end != 0:
        return False
    return all(_accept(parameter, value, values) for parameter, value in taken)
