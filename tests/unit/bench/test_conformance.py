"""Results of docker buildx's own tests: how they are counted, kept and shown, and the reasons for failures."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

import pytest

from bench.conformance import __main__ as command
from bench.conformance import outcomes, suite
from bench.conformance.outcomes import FunctionOutcome, PairedOutcome, Results
from bench.newest import find_newest
from devcluster import programs

DOCUMENT: dict[str, Any] = json.loads(find_newest("conformance").read_text())
ENTRIES = {test: entry for tests in DOCUMENT["functions"].values() for test, entry in tests.items()}


def pair(control: dict[str, str], product: dict[str, str]) -> PairedOutcome:
    return PairedOutcome(
        control=FunctionOutcome(worker="kubernetes", parts=control),
        product=FunctionOutcome(worker="kubernetes", parts=product),
    )


RESULTS: Results = {
    "build": {
        "TestBuild": pair({"": "pass"}, {"": "pass"}),
        "TestParts": pair({"": "pass", "a": "pass", "b": "pass", "c": "skip"}, {"": "fail", "a": "pass"}),
        "TestAbsent": pair({"": "skip"}, {"": "skip"}),
        "TestBroken": pair({"": "fail"}, {"": "pass"}),
    },
    "policy_eval": {"TestPolicyEval": pair({"": "pass"}, {"": "fail"})},
}


def test_functions_and_parts_are_counted() -> None:
    counted = outcomes.count_outcomes(RESULTS)
    assert counted["total"] == {
        "functions": {"passed": 1, "of": 3, "not applicable": 2},
        "parts": {"passed": 2, "of": 4, "not applicable": 3},
    }
    assert counted["files"]["policy_eval"]["functions"] == {"passed": 0, "of": 1, "not applicable": 0}


def test_results_survive_as_json() -> None:
    document = json.loads(json.dumps(outcomes.make_document(RESULTS, {"seed": None})))
    assert document["functions"]["policy_eval"]["TestPolicyEval"]["reason"].startswith("policies in Rego")
    again = outcomes.read_document(document)
    assert outcomes.count_outcomes(again) == outcomes.count_outcomes(RESULTS)


def test_a_failure_without_a_reason_is_a_surprise() -> None:
    assert outcomes.list_surprises(RESULTS) == ["TestParts"]


def test_the_table_marks_what_differs() -> None:
    lines = outcomes.format_table(RESULTS).splitlines()
    assert [line.split() for line in lines[1:5]] == [
        ["build", "TestBuild", "pass", "pass"],
        ["build", "TestParts", "pass", "fail", "<-"],
        ["build", "a", "pass", "pass"],
        ["build", "c", "skip", "fail"],
    ]
    assert lines[-1].split("   ")[-1].strip() == "2 of 4 (3 n/a)"


def test_a_share_is_drawn_by_its_seed() -> None:
    catalogue = {"build": [f"Test{number}" for number in range(40)], "dap_build": ["TestDap"]}
    first, again, other = (
        list(command.choose_tests(catalogue, command.read_options(["--seed", seed]))) for seed in ("7", "7", "8")
    )
    assert first == again != other
    assert len(first) == 4
    assert ("dap_build", "TestDap") not in list(command.choose_tests(catalogue, command.read_options([])))


def test_lists_of_tests_are_found(tmp_path: Any) -> None:
    text = "var lsTests = []func(t *testing.T, sb integration.Sandbox){\n\ttestLs,\n\ttestLsAll,\n}\n"
    (tmp_path / "ls.go").write_text(text)
    assert suite.find_tests(tmp_path) == {"ls": ("lsTests", ["TestLs", "TestLsAll"])}


def test_the_committed_run_is_whole() -> None:
    assert DOCUMENT["seed"] is None
    assert programs.BUILDX in DOCUMENT["buildx"]
    assert sum(map(len, DOCUMENT["functions"].values())) >= 200
    assert outcomes.count_outcomes(outcomes.read_document(DOCUMENT))["total"] == DOCUMENT["total"]


@pytest.mark.parametrize("name", [name for name, one in ENTRIES.items() if "reason" in one])
def test_each_failure_has_a_reason(name: str) -> None:
    assert ENTRIES[name]["reason"] == outcomes.find_reason(name, outcomes.read_reasons()) != ""


def test_each_reason_is_for_a_failure() -> None:
    failing = [name for name, one in ENTRIES.items() if one["control"] == "pass" and one["kube-builder"] == "fail"]
    unused = [name for name in outcomes.read_reasons() if not fnmatch.filter(failing, name) and "Dap" not in name]
    assert unused == []
