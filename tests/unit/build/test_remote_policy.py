"""The build that looks for a policy in a remote context."""

from pathlib import Path

import pytest

from ci_buildx.build.remote_policy import explain_failure, make_dockerfile, needs_check
from ci_buildx.errors import SolveError
from ci_buildx.settings.values import BuildSettings

GIT = "https://host/x.git"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("Dockerfile.rego", "Dockerfile.reg[o]"),
        ("sub/a b.rego", "sub/a b.reg[o]"),
        ("a[b]*.rego", "a?b??.reg[o]"),
        ('quo"te.rego', 'quo\\"te.reg[o]'),
    ],
)
def test_it_copies_the_policy_if_there_is_one(name: str, source: str) -> None:
    assert make_dockerfile(name) == f'FROM scratch\nCOPY ["{source}", "/"]\n'


def test_a_link_to_nothing_is_refused_by_name() -> None:
    said = 'failed to compute cache key: failed to calculate checksum of ref a::b: "/none": not found'
    assert str(explain_failure(SolveError(said), "sub/Dockerfile.rego")) == (
        "the context holds sub/Dockerfile.rego, a link that leads nowhere; beside a Dockerfile it is a Rego policy,"
        " which only docker buildx enforces; remove it, or build without it: --policy disabled=true"
    )
    other = SolveError("failed to fetch remote https://host/x.git")
    assert explain_failure(other, "Dockerfile.rego") is other


@pytest.mark.parametrize(
    ("build", "needed"),
    [
        (BuildSettings(context=GIT, dockerfile=None), True),
        (BuildSettings(context=GIT, dockerfile=None, policy_disabled=True), False),
        (BuildSettings(context=GIT, dockerfile=Path("/x/Dockerfile")), False),
        (BuildSettings(context=Path("/x"), dockerfile=None), False),
    ],
)
def test_it_is_made_for_remote_dockerfiles(build: BuildSettings, needed: bool) -> None:
    assert needs_check(build) is needed
