"""No test gives the product an administrator's rights: those are for looking on."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
AN_ADMINISTRATORS = re.compile(r"""cluster_env\[f?["']KUBECONFIG["']\]|env=cluster_env|\*\*cluster_env""")
LOOK_ON = {
    "conftest.py": "makes the accounts",
    "integration/conftest.py": "the tests' own client",
    "integration/builder/conftest.py": "the tests' own client",
    "e2e/conftest.py": "the tests' own client",
    "e2e/test_gitlab_runner.py": "takes the cluster's address and authority, and removes the user",
    "e2e/test_oidc.py": "takes the cluster's address and authority, and removes the user",
    "integration/bench/test_smoke.py": "the bench compares with buildx, which has no roles",
}


def test_the_product_never_has_an_administrators_kubeconfig() -> None:
    files = {
        str(path.relative_to(TESTS)): path for path in TESTS.rglob("*.py") if path.relative_to(TESTS).parts[0] != "unit"
    }
    found = {name for name, path in files.items() if AN_ADMINISTRATORS.search(path.read_text())}
    assert found - LOOK_ON.keys() == set(), "use the fixtures product, product_env or job_account (CONTRIBUTING.md)"
