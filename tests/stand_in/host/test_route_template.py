"""Route templates and constraints; most rows were seen on the real host."""

import pytest

from stand_in.host.errors import HostStartFailed
from stand_in.host.route_template import parse_template

GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("r/int/{id:int}", "r/int/-3", {"id": "-3"}),
        ("r/int/{id:int}", "r/int/+4", {"id": "+4"}),
        ("r/int/{id:int}", "r/int/007", {"id": "007"}),
        ("r/int/{id:int}", "r/int/2147483648", None),
        ("r/int/{id:int}", "r/int/5.0", None),
        ("r/long/{id:long}", "r/long/2147483648", {"id": "2147483648"}),
        ("r/bool/{b:bool}", "r/bool/TRUE", {"b": "TRUE"}),
        ("r/bool/{b:bool}", "r/bool/1", None),
        ("r/guid/{g:guid}", f"r/guid/{GUID}", {"g": GUID}),
        ("r/guid/{g:guid}", f"r/guid/{{{GUID}}}", {"g": f"{{{GUID}}}"}),
        ("r/guid/{g:guid}", "r/guid/x", None),
        ("r/alpha/{x:alpha}", "r/alpha/漢", None),
        ("r/date/{d:datetime}", "r/date/2026-01-02", {"d": "2026-01-02"}),
        ("r/date/{d:datetime}", "r/date/12", None),
        ("r/decimal/{d:decimal}", "r/decimal/1,5", {"d": "1,5"}),
        ("r/decimal/{d:decimal}", "r/decimal/1e3", None),
        ("r/length/{x:length(2,4)}", "r/length/abcd", {"x": "abcd"}),
        ("r/length/{x:length(2,4)}", "r/length/abcde", None),
        ("r/range/{n:range(5,7)}", "r/range/8", None),
        ("r/chain/{x:alpha:length(3)}", "r/chain/ab1", None),
        ("r/regex/{x:regex(^[a-z]+$)}", "r/regex/ABC", {"x": "ABC"}),
        ("r/regex/{x:regex(^[[a-z]]+$)}", "r/regex/abc", None),
        ("r/optional/{a}/{b?}", "r/optional/a/", {"a": "a"}),
        ("r/optional/{a}/{b?}", "r/optional", None),
        ("r/optional/{n:int?}", "r/optional", {}),
        ("r/default/{a=home}", "r/default", {"a": "home"}),
        ("r/default/{a=home}", "r/default/given", {"a": "given"}),
        ("r/star/{*rest}", "r/star", {}),
        ("r/star/{*rest}", "r/star/a//b", {"rest": "a//b"}),
        ("r/star/{*rest}", "r/star/a/", {"rest": "a/"}),
        ("r/star/{**rest}", "r/star/a%2Fb/c", {"rest": "a%2Fb/c"}),
        ("r/star/{*rest}", "r/star//a", None),
        ("r/{name}.{ext}", "r/a.b.c", {"name": "a.b", "ext": "c"}),
        ("r/{name}.{ext?}", "r/a", {"name": "a"}),
        ("r/{name}.{ext?}", "r/a.b", {"name": "a", "ext": "b"}),
        ("r/v{major:int}/x", "r/V2/x", {"major": "2"}),
        ("r/v{major:int}/x", "r/v/x", None),
        ("r/Case/{Id}", "R/CASE/AbC", {"Id": "AbC"}),
        ("r/with space/{x}", "r/with space/1", {"x": "1"}),
        ("%NAME%/x", "%NAME%/x", {}),
        ("x/{a?}/y", "x/1/y", {"a": "1"}),
        ("/", "", {}),
        ("", "x", None),
        ("{{literal}}", "{literal}", {}),
    ],
)
def test_a_path_matches_as_in_asp_net(template: str, path: str, values: dict[str, str] | None) -> None:
    assert parse_template(template, "f").match(path) == values


@pytest.mark.parametrize(
    "template",
    [
        "bt/{a",
        "bt/a}",
        "uc/{a:nosuch}",
        "uc/{a:length}",
        "api//x",
        "x/{a}/{A}",
        "x/{*a}/y",
        "x/{a}{b}",
        "x/lit?eral",
        "x/{}",
        "x/{*a?}",
        "x/{a=1?}",
        "x/b{*a}",
    ],
)
def test_a_template_error_stops_the_host_and_names_the_function(template: str) -> None:
    with pytest.raises(HostStartFailed, match="name 'the_function' and template"):
        parse_template(template, "the_function")
