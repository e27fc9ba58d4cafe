"""What counts as a secret of a process: enough that none is printed, and not so much that messages lose their sense."""

from __future__ import annotations

import html
import json
from collections.abc import Callable

import pytest

from ci_buildx.model import masker

KUBECONFIG = """\
apiVersion: v1
clusters: [{name: ci, cluster: {server: "https://api.example:6443"}}]
contexts:
- name: production-cluster
  context: {cluster: ci, namespace: team-builds}
users:
- name: ci
  user:
    token: hush-of-the-cluster
"""


def shown(text: str, env: dict[str, str]) -> str:
    return masker.mask_secrets(text, masker.list_process_secrets(env, ()))


@pytest.mark.parametrize("value", ["p\udce4ssw\udcf6rter", "a lone \ud800 surrogate"])
def test_bytes_that_are_not_utf8_are_masked(value: str) -> None:
    """Python holds such bytes of a variable as surrogates (PEP 383)."""
    assert shown(f"refused: {value}", {"DB_PASSWORD": value}) == "refused: ***"


def test_its_url_spelling_is_masked_too() -> None:
    assert shown("refused: p%E4ssw%F6rter", {"DB_PASSWORD": "p\udce4ssw\udcf6rter"}) == "refused: ***"


def test_the_work_for_a_large_variable_is_bounded() -> None:
    """A line of an event's JSON with a signed URL at its start, and one of hex digits."""
    event = json.dumps(
        {"avatar": "https://x.example/y.png?token=abcdefgh12", **{f"k{n}": f"v {n}" for n in range(3000)}}
    )
    forms = masker.list_process_secrets({"EVENT": event, "DIGITS": f"X=k={'0f' * 16384}"}, ())
    assert "abcdefgh12" in forms
    assert len(forms) < 500
    many = " ".join(f"token=value-{n:04}" for n in range(3000))
    assert len(masker.list_process_secrets({"MANY": many}, ())) < 10_000


def test_a_kubeconfig_hides_its_credentials_and_not_its_names() -> None:
    env = {"KUBE_BUILDER_KUBECONFIG": KUBECONFIG}
    assert shown("token hush-of-the-cluster", env) == "token ***"
    said = "context 'production-cluster' of https://api.example:6443, namespace team-builds"
    assert shown(said, env) == said


def test_a_key_in_json_hides_its_credentials_and_not_its_names() -> None:
    key = json.dumps(
        {"project_id": "my-project-name", "private_key": "hush-of-the-key", "token_uri": "https://t"}, indent=1
    )
    env = {"INPUT_SECRETS": f"gcp={key}"}
    said = "europe-docker.pkg.example/my-project-name/app:1: denied"
    assert shown(said, env) == said
    assert shown("hush-of-the-key", env) == "***"


def test_the_message_of_a_commit_is_no_secret() -> None:
    env = {"CI_COMMIT_MESSAGE": "Use another base\n\nregistry.example.com/base/python"}
    assert (
        shown("registry.example.com/base/python:3.12: not found", env)
        == "registry.example.com/base/python:3.12: not found"
    )


@pytest.mark.parametrize("name", ["VAULT_AUTH_METHOD", "KEY_TYPE", "AUTH_MODE", "CREDENTIALS_PROVIDER"])
def test_kinds_of_credentials_are_no_secrets(name: str) -> None:
    assert shown("app.kubernetes.io/name", {name: "kubernetes"}) == "app.kubernetes.io/name"


def test_a_word_is_masked_as_a_word() -> None:
    env = {"DB_PASSWORD": "postgres"}
    assert (
        shown("apt-get install postgresql; login postgres:postgres", env) == "apt-get install postgresql; login ***:***"
    )


TOKENS = [
    *("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", f"github_pat_{'a1' * 12}", f"AKIA{'A1' * 8}", f"npm_{'a1' * 16}"),
    *(f"gh{letter}_{'a1' * 12}" for letter in "oprsu"),
    *(
        f"gl{kind}-{'a1' * 10}"
        for kind in ("pat", "ptt", "dt", "rt", "rtr", "cbt", "ft", "soat", "agent", "imt", "oas")
    ),
]


@pytest.mark.parametrize("token", TOKENS)
def test_tokens_of_known_services_are_masked(token: str) -> None:
    assert masker.mask_secrets(f"fetched with {token}, done", ()) == "fetched with ***, done"


@pytest.mark.parametrize(
    "text", ["a high glass, github and glibc", "https://host.example/a?b=c", "mail to team@example.org", "x\ny=z"]
)
def test_other_texts_stay(text: str) -> None:
    assert masker.mask_secrets(text, ()) == text


@pytest.mark.parametrize("spelling", [html.escape, lambda text: html.escape(text, quote=False)])
def test_spellings_of_html_are_those_of_the_standard_library(spelling: Callable[[str], str]) -> None:
    secret = "a<b>&'c'\"d\" of the job"
    assert spelling(secret) in masker.list_spellings([secret])
