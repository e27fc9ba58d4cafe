"""The tests of docker buildx that kube-builder does not pass, from the newest committed run."""

from __future__ import annotations

import json

from bench.newest import find_newest

POLICIES = "policy_"
"""Start of the names of the files whose tests are about policies in Rego."""


def table() -> str:
    """Return the totals, then one row for each function that fails."""
    path = find_newest("conformance")
    found = json.loads(path.read_text())
    total = found["total"]["functions"]
    failing = {
        (file, test): entry["reason"]
        for file, tests in found["functions"].items()
        for test, entry in tests.items()
        if entry["control"] == "pass" and entry["kube-builder"] == "fail"
    }
    rego = sum(file.startswith(POLICIES) for file, _ in failing)
    rows = [f"| `{file}` | `{test}` | {reason} |" for (file, test), reason in failing.items()]
    lines = (
        f"kube-builder passes {total['passed']} of the {total['of']} test functions that docker buildx passes there",
        f"(`bench/results/{path.name}`). Of those that fail, {rego} are about policies in Rego, which kube-builder",
        "refuses by name.",
        "",
        "| file | test | reason |",
        "|---|---|---|",
        *rows,
        "",
    )
    return "\n".join(lines)
