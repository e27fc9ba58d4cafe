"""No test gives the product an administrator's rights: those are for looking on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent.parent
AN_ADMINISTRATORS = re.compile(r"""cluster_env\[f?["']KUBECONFIG["']\]|env=cluster_env|\*\*cluster_env""")
LOOK_ON = {
    "conftest.py": "gives the administrator's client and makes the accounts",
    "e2e/test_gitlab_runner.py": "takes the cluster's address and authority, and removes the user",
    "e2e/test_oidc.py": "takes the cluster's address and authority, and removes the user",
    "parity/test_imagetools.py": "buildx creates a builder that it never starts, kube-builder gets no cluster",
    "integration/bench/test_smoke.py": "the bench makes accounts of its own, for buildx, too",
}


def test_the_product_never_has_an_administrators_kubeconfig() -> None:
    files = {
        str(path.relative_to(TESTS)): path for path in TESTS.rglob("*.py") if path.relative_to(TESTS).parts[0] != "unit"
    }
    found = {name for name, path in files.items() if AN_ADMINISTRATORS.search(path.read_text())}
    assert found - LOOK_ON.keys() == set(), "use the fixtures product, product_env or job_account (CONTRIBUTING.md)"


CLIENTS = ("integration/kube/*.py", "integration/transport/*.py", "integration/driver_opts/test_strategic_merge.py")
"""Where the product's own client of the API is what is tested."""
ADMINISTRATORS = {"kube", "cluster", "cluster_env"}
"""Fixtures of an administrator's."""
MAKE_THE_SCENE = {"test_knocking_from_before_the_pod_runs": "makes the pod while the tunnels knock"}


def test_the_products_client_is_never_an_administrators() -> None:
    files = [file for client in CLIENTS for file in TESTS.glob(client)]
    tests = {test.name: test for file in files for test in functions_of(file)}
    assert len(tests) > 20
    found = {name for name, test in tests.items() if ADMINISTRATORS & {argument.arg for argument in test.args.args}}
    assert found - MAKE_THE_SCENE.keys() == set(), "give it an account by accounts.outsider and Account.grant"


def functions_of(file: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node
