"""The build that looks for a policy in a remote context."""

from pathlib import Path

import pytest

from ci_buildx.build.remote_policy import make_dockerfile, needs_check
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
