"""The protocol, searched whole: every order of events in small worlds, with the app's own decisions.

Large worlds: `python -m tests.model`. What the search is and what it found: docs/protocol.md.
"""

import re
from pathlib import Path

import pytest

from tests.model.cases import LARGE, QUICK, limits
from tests.model.page import flaws
from tests.model.rules import RULES, Rule
from tests.model.search import search
from tests.model.world import Budget, Case

ROOT = Path(__file__).parent.parent.parent
# Many rules can be left out of worlds as small as these; the larger ones are searched with their rule by hand.
SMALL = 40_000


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_every_order_of_events_keeps_the_promises(case: Case):
    with limits(case):
        finding = search(case)
    assert finding.complete
    assert not finding.flaw, "\n".join([finding.flaw, *finding.story])
    assert finding.settled > 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_left_out_breaks_a_promise(rule: Rule):
    finding = rule.search()
    assert finding.flaw.startswith(rule.breaks), finding.flaw or "nothing goes wrong without it"
    assert finding.story


@pytest.mark.parametrize("rule", [rule for rule in RULES if not rule.large], ids=lambda rule: rule.name)
def test_with_the_rule_the_same_world_keeps_its_promises(rule: Rule):
    finding = rule.search_with()
    assert finding.complete
    assert not finding.flaw, "\n".join([finding.flaw, *finding.story])


def test_a_page_shows_what_the_journal_says_whatever_it_hears():
    case = Case("page", "", Budget(differ=2, cover=1, crash=2, stop=1), faulty=("stream_completion",), deaths="h")
    with limits(case):
        finding = search(case, limit=6_000)
        shown, found = flaws(finding.journals)
    assert shown > 2_000
    assert found == []


def test_each_case_has_a_name_of_its_own():
    names = [case.name for case in (*QUICK, *LARGE)]
    assert len(set(names)) == len(names)


def test_every_rule_is_in_the_documentation():
    """Each in one table row of docs/protocol.md."""
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(rows) == {rule.name for rule in RULES}
