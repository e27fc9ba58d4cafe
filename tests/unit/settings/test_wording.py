"""Advice names what the user can set: flags on a command line, inputs or variables in a CI system."""

from __future__ import annotations

import pytest

from ci_buildx.errors import InputError, KubeBuilderError, SolveError
from ci_buildx.settings.option import OptionSurface
from ci_buildx.settings.wording import name_inputs, reword_error

GITHUB, GITLAB, CLI = OptionSurface.GITHUB, OptionSurface.GITLAB, OptionSurface.CLI
LOGIN = "log in to r.io (docker login) or set DOCKER_AUTH_CONFIG"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("add --push or --output", "add input push or input outputs"),
        ("omit --transport, so that all are tried", "omit input transport, so that all are tried"),
        ("set --platform for another", "set input platforms for another"),
        ("add --ssh default", "add input ssh: default"),
        ("add --ssh default; or not", "add input ssh: default; or not"),
        ("--build-context NAME=docker-image://r.io/…", "input build-contexts: NAME=docker-image://r.io/…"),
        ("or add --allow buildx.local.delete", "or add input allow: buildx.local.delete"),
        ("or add --allow=buildx.local.delete", "or add input allow: buildx.local.delete"),
        ("with --driver-opt '\"tolerations=key=a\"'", "with input driver-opts: '\"tolerations=key=a\"'"),
        ("http = true in --buildkitd-config", "http = true in input buildkitd-config"),
        ("set KUBECONFIG or --kubeconfig to a file", "set KUBECONFIG or input kubeconfig to a file"),
        ("build without it: --policy disabled=true", "build without it: KUBE_BUILDER_POLICY=disabled=true"),
        ("kube-builder create --append --platform: one", "kube-builder create --append --platform: one"),
        ("kube-builder rm --force x; or omit --builder", "kube-builder rm --force x; or omit input builder"),
        ("its flag --max-node-provision-time", "its flag --max-node-provision-time"),
        (f"{LOGIN}", "set inputs registry, username and password for r.io"),
        ("log in to r.io (docker login), or wait", "set inputs registry, username and password for r.io, or wait"),
        ("no flag at all", "no flag at all"),
    ],
)  # fmt: skip
def test_the_action_speaks_of_its_inputs(text: str, said: str) -> None:
    assert name_inputs(text, GITHUB) == said
    assert name_inputs(said, GITHUB) == said, "twice is once"
    assert name_inputs(text, CLI) == text


def test_gitlab_has_variables_for_what_is_no_input() -> None:
    assert name_inputs("add --push", GITLAB) == "add input push"
    assert name_inputs("omit --keep", GITLAB) == "omit KUBE_BUILDER_KEEP"
    assert name_inputs(LOGIN, GITLAB) == (
        "set variables KUBE_BUILDER_REGISTRY, KUBE_BUILDER_USERNAME and KUBE_BUILDER_PASSWORD for r.io"
    )


def test_an_error_keeps_its_message_which_may_quote_the_users_command() -> None:
    failed = SolveError("process /bin/sh -c deploy --push did not complete", fix="add --push")
    failed.add_note("see --tag")
    reword_error(failed, GITHUB)
    assert str(failed) == "process /bin/sh -c deploy --push did not complete; add input push"
    assert failed.__notes__ == ["see input tags"]
    wrong = InputError("pushing requires a tag", source="--push", fix="add --tag")
    reword_error(wrong, GITHUB)
    assert str(wrong) == "input push: pushing requires a tag; add input tags"


def test_on_a_command_line_nothing_changes() -> None:
    error = KubeBuilderError("no", fix="add --push")
    reword_error(error, CLI)
    assert str(error) == "no; add --push"
