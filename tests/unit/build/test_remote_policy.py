"""The build that looks for a policy in a remote context."""

from pathlib import Path

import pytest

from ci_buildx.build.remote_policy import explain_failure, make_dockerfile, needs_check
from ci_buildx.buildkit.messages import SolveRequest
from ci_buildx.errors import SolveError
from ci_buildx.settings.values import BuildSettings
from tests.unit.build.whole_build import WholeBuild
from tests.unit.scripted_buildkitd import SolveFault

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
        "the context contains sub/Dockerfile.rego, a broken link; next to a Dockerfile it is a Rego policy,"
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


# Whole builds of a remote context.


def make_remote(build: WholeBuild) -> None:
    build.options |= {"context": "https://example.com/app.git", "dockerfile": None}


def test_the_context_is_searched_before_it_is_built(build: WholeBuild) -> None:
    make_remote(build)
    build.run()
    search, real = build.cluster.script.solved
    assert [exporter.type for exporter in search.exporters] == ["local"]
    assert search.frontend_attrs["context"] == real.frontend_attrs["context"] == "https://example.com/app.git"


def test_a_url_of_a_single_dockerfile_has_no_policy_beside_it(build: WholeBuild) -> None:
    make_remote(build)

    def answer(request: SolveRequest) -> dict[str, str]:
        if request.exporters:
            raise SolveFault("UNKNOWN", "failed to read dockerfile: open context: no such file")
        return {}

    build.cluster.script.answer = answer
    build.run()
    assert len(build.cluster.script.solved) == 2


def test_a_context_that_cannot_be_fetched_ends_the_build(build: WholeBuild) -> None:
    make_remote(build)

    def refuse(_: SolveRequest) -> dict[str, str]:
        raise SolveFault("UNKNOWN", "failed to load cache key: repository not found")

    build.cluster.script.answer = refuse
    with pytest.raises(SolveError, match="repository not found"):
        build.run()
    assert len(build.cluster.script.solved) == 1
