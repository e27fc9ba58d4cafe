"""Content where a path, a URL or a name is expected: it is taken where the page says so, and never shown."""

from __future__ import annotations

import base64
import io
import textwrap
from pathlib import Path

import pytest

from ci_buildx.cli.main import main
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.kube import config
from ci_buildx.model import masker
from ci_buildx.settings import options
from ci_buildx.settings.assembly import make_cluster_settings, make_settings
from ci_buildx.settings.option import OptionKind
from ci_buildx.settings.raw_values import _FREE, refuse_pasted

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: ci
contexts: [{name: ci, context: {cluster: ci, user: ci}}]
clusters: [{name: ci, cluster: {server: "https://127.0.0.1:1"}}]
users:
- name: ci
  user: {token: NOT-FOR-LOGS}
"""
BASE64 = base64.b64encode(KUBECONFIG.encode()).decode()
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nNOT-FOR-LOGS\n-----END OPENSSH PRIVATE KEY-----"
NOTHING = {"HOME": "/nonexistent"}
ONE_NAME = [
    option.name
    for option in options.OPTIONS
    if option.kind in (OptionKind.TEXT, OptionKind.WORDS) and option.name not in _FREE and option.flags
]


@pytest.mark.parametrize(
    "text", [KUBECONFIG, BASE64, "\n".join(textwrap.wrap(BASE64, 76))], ids=["text", "b64", "wrapped"]
)
@pytest.mark.parametrize("place", ["kubeconfig", "KUBECONFIG"])
def test_content_of_a_kubeconfig_is_taken_without_a_file(text: str, place: str, tmp_path: Path) -> None:
    env = NOTHING | ({"KUBECONFIG": text} if place == "KUBECONFIG" else {})
    values = {"kubeconfig": text} if place == "kubeconfig" else {}
    cluster = config.load_cluster(make_cluster_settings(values, {}, env, tmp_path), env=env)
    assert cluster.server == "https://127.0.0.1:1"
    assert cluster.credentials.make_headers() == {"Authorization": "Bearer NOT-FOR-LOGS"}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", [" ".join(KUBECONFIG.splitlines()), KEY, BASE64[:-70], "eyJhbGciOiJSUzI1NiJ9.NOT-FOR-LOGS"]
)
def test_what_is_no_whole_kubeconfig_is_not_shown(text: str, tmp_path: Path) -> None:
    for values, env in (({"kubeconfig": text}, NOTHING), ({}, NOTHING | {"KUBECONFIG": text})):
        with pytest.raises(InputError) as caught:
            config.load_cluster(make_cluster_settings(values, {}, env, tmp_path), env=env)
        assert "NOT-FOR-LOGS" not in str(caught.value)
        assert BASE64[:20] not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("context", "{{defaultContext}}"),
        ("context", "{{defaultContext}}:app"),
        ("build-contexts", "notes={{defaultContext}}:app"),
        ("tags", "registry.example:5000/app:{{branch}}"),
    ],
)
def test_an_expression_of_dockers_actions_is_no_content(name: str, text: str) -> None:
    refuse_pasted(name, iter([text]), source=name)


@pytest.mark.parametrize("name", ONE_NAME)
@pytest.mark.parametrize("text", [KEY, BASE64, " ".join(KUBECONFIG.splitlines())], ids=["key", "base64", "one-line"])
def test_no_option_quotes_content(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").touch()
    with pytest.raises(InputError) as caught:
        make_settings({"context": ".", name: text}, {name: f"--{name}"}, NOTHING, tmp_path)
    assert str(caught.value).startswith(f"--{name}: ")
    assert "NOT-FOR-LOGS" not in str(caught.value)
    assert BASE64[:20] not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ssh", "default={}"),
        ("build-contexts", "base={}"),
        ("secrets", "id=x,src={}"),
        ("cache-from", "type=local,src={}"),
        ("cache-to", "type=local,dest={}"),
        ("outputs", "type=local,dest={}"),
    ],
)
@pytest.mark.parametrize("text", [KEY, BASE64, "NOT-FOR-LOGS" * 100], ids=["key", "base64", "long"])
def test_no_part_of_a_value_is_quoted(name: str, value: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").touch()
    with pytest.raises(InputError) as caught:
        make_settings({"context": ".", name: [value.format(text)]}, {name: f"--{name}"}, NOTHING, tmp_path)
    assert "NOT-FOR-LOGS" not in str(caught.value)
    assert BASE64[:20] not in str(caught.value)


@pytest.mark.parametrize(
    "argv", [["build", KEY], ["build", "--progress", BASE64, "."], ["ls", KEY], ["rm", BASE64], [KEY]]
)
def test_no_argument_in_the_wrong_place_is_quoted(argv: list[str], tmp_path: Path) -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    assert main(argv, ProcessContext(env=NOTHING, cwd=tmp_path, stdout=stdout, stderr=stderr)) == 2
    assert "NOT-FOR-LOGS" not in stderr.getvalue()
    assert BASE64[:20] not in stderr.getvalue()


def test_addresses_and_folders_are_no_secrets_of_the_environment() -> None:
    env = {"REGISTRY_TOKEN": "registry.example:5000", "PWD": "/home/me/checkout", "OTHER_TOKEN": "s3cret-and-long"}
    assert list(masker.find_environment_secrets(env)) == ["s3cret-and-long"]
