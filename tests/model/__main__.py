"""`python -m tests.model [NAME ...]`: search the large worlds and say what was found; --quick: the small ones;
--rules: leave out each rule and show the shortest story that goes wrong."""

import sys

from tests.model.cases import LARGE, QUICK, limits
from tests.model.rules import RULES
from tests.model.search import Finding, search


def show(finding: Finding) -> bool:
    print(finding, flush=True)
    for line in finding.story:
        print(f"      {line}")
    return not finding.flaw and finding.complete


def main(arguments: list[str]) -> int:
    names = [argument for argument in arguments if not argument.startswith("--")]
    if "--rules" in arguments:
        missed = 0
        for rule in RULES:
            if not names or rule.name in names:
                finding = rule.search()
                print(
                    f"without {rule.name}: {rule.about}\n  {finding.flaw or 'nothing goes wrong'}"
                    f"  ({finding.states:,} states, {finding.seconds:.1f} s)"
                )
                for line in finding.story:
                    print(f"      {line}")
                missed += not finding.flaw.startswith(rule.breaks)
        return missed
    wrong = states = 0
    for case in QUICK if "--quick" in arguments else LARGE:
        if not names or case.name in names:
            with limits(case):
                finding = search(case)
            wrong += not show(finding)
            states += finding.states
    print(f"{states:,} states, {wrong} wrong")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
