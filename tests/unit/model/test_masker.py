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


@pytest.mark.parametrize(
    "option",
    [
        "tolerations=key=kubernetes.io/arch,value=arm64;key=example.org/gpu,effect=NoSchedule",
        '"tolerations=value=arm64,key=kubernetes.io/arch"',
        "nodeselector=key=kubernetes.io/arch,key=example.org/gpu",
    ],
)
def test_the_key_of_a_taint_or_label_is_no_secret(option: str) -> None:
    said = f"kubernetes.io/arch or example.org/gpu is missing; set --driver-opt '{option}'"
    assert shown(said, {"INPUT_DRIVER-OPTS": option}) == said
    assert list(masker.find_secrets(f"--driver-opt={option}")) == []


@pytest.mark.parametrize(
    "text",
    [
        "key=hush-of-the-key",
        "tolerations=key=a key=hush-of-the-key",
        "tolerations=key=a,api-key=hush-of-the-key",
        "tolerations=key=a;password=hush-of-the-key",
        "othertolerations=key=hush-of-the-key",
        "https://host/x?a=1;key=hush-of-the-key",
        "tolerations=https://host/x?key=hush-of-the-key",
    ],
)
def test_another_key_is_a_secret(text: str) -> None:
    assert "hush-of-the-key" in set(masker.find_secrets(text))


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
    "text",
    [
        *("a high glass, github and glibc", "https://host.example/a?b=c", "mail to team@example.org", "x\ny=z"),
        *("npm_package_devDependencies_babel_plugin_macros=3", "pypi-attestations-model-signing-tools-0.0.1"),
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert masker.mask_secrets(text, ()) == text


@pytest.mark.parametrize("spelling", [html.escape, lambda text: html.escape(text, quote=False)])
def test_spellings_of_html_are_those_of_the_standard_library(spelling: Callable[[str], str]) -> None:
    secret = "a<b>&'c'\"d\" of the job"
    assert spelling(secret) in masker.list_spellings([secret])


@pytest.mark.parametrize(
    "name",
    [
        *("NPM_TOKEN", "npmToken", "githubToken", "npm-token", "client.secret", "PGPASSWORD", "MYSQL_PWD", "SSHPASS"),
        *("GITHUB_PAT", "accessKey", "DB_PASS", "npm_config_//registry.npmjs.org/:_authToken"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert masker.is_secret_name(name)
    assert masker.mask_value({f"build-arg:{name}": "x", f"label:{name}": "y", f"annotation-index.{name}": "z"}) == {
        f"build-arg:{name}": "***",
        f"label:{name}": "***",
        f"annotation-index.{name}": "***",
    }


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "PWD", "OLDPWD", "PUBLIC_KEY", "TOKEN_FILE", "KEYBOARD", "TOKENIZERS_PARALLELISM", "STICKY_KEY"),
        *("cache-key", "VERSION", "org.opencontainers.image.title", "compat", "PATTERN"),
    ],
)
def test_names_that_only_resemble_them(name: str) -> None:
    assert not masker.is_secret_name(name)


@pytest.mark.parametrize(
    "text",
    [
        *(
            f"dckr_pat_{'aB1' * 9}",
            f"dckr_oat_{'aB1' * 9}",
            f"ASIA{'A1' * 8}",
            f"hvs.{'aB1' * 9}",
            f"pypi-AgEI{'aB1' * 12}",
        ),
        *(f"xoxb-1234-{'aB1' * 6}", f"sk_live_{'aB1' * 8}"),
        f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n{'aB1' * 9}\n-----END PGP PRIVATE KEY BLOCK-----",
    ],
)
def test_what_looks_like_a_secret(text: str) -> None:
    assert masker.mask_secrets(f"said {text} here", ()) == "said *** here"


def test_a_header_that_is_echoed_hides_its_login() -> None:
    said = f"authorization: Basic {'bWU6czNj' * 4} and bearer {'t0k-' * 8}"
    assert masker.mask_secrets(said, ()) == "authorization: Basic *** and bearer ***"
    plain = "Basic authentication-is-not-enabled-here, Bearer realm=https://auth.example/token"
    assert masker.mask_secrets(plain, ()) == plain


def test_logins_within_a_docker_configuration() -> None:
    config = {"auths": {"r.example": {"auth": "YW5uOnNlZWRlZC1wYXNz"}, "s.example": {"identitytoken": "seeded-token"}}}
    env = {"DOCKER_AUTH_CONFIG": json.dumps(config)}
    assert shown("seeded-pass YW5uOnNlZWRlZC1wYXNz seeded-token r.example", env) == "*** *** *** r.example"


def test_a_key_within_json_is_mostly_a_name() -> None:
    document = json.dumps({"license": {"key": "apache-2.0"}, "items": [{"key": "postgresql", "token": "seeded-token"}]})
    said = "apache-2.0 postgresql seeded-token"
    assert shown(said, {"GITHUB_CONTEXT": document}) == "apache-2.0 postgresql ***"
    assert shown(said, {"DB_CREDENTIALS": document}) == "*** *** ***"


@pytest.mark.parametrize("name", ["CI_COMMIT_TITLE", "CI_COMMIT_REF_NAME", "GITHUB_HEAD_REF", "CI_MERGE_REQUEST_TITLE"])
def test_an_author_cannot_have_words_masked(name: str) -> None:
    env = {name: "token=registry.example/team"}
    assert shown("registry.example/team/app: denied", env) == "registry.example/team/app: denied"
    assert shown("seeded-pass", {name: "https://ann:seeded-pass@git.example/x"}) == "***"
    assert shown(f"ghp_{'a' * 36}x", {name: f"ghp_{'a' * 36}x"}) == "***"


def test_what_a_limit_leaves_of_a_secret_is_masked() -> None:
    env = {"DB_PASSWORD": "correct-horse-battery"}
    assert shown("invalid value: correct-horse-ba… and so on", env) == "invalid value: ***… and so on"
    assert shown("corr… correct…", env) == "corr… ***…"
    assert shown("nothing of it…", env) == "nothing of it…"
