"""Whatever is in a kubeconfig: a cluster or one line that says what is wrong with it, soon and with little memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.errors import InputError
from ci_buildx.kube import config
from ci_buildx.settings.values import ClusterSettings

WORDS = (
    *("clusters", "cluster", "contexts", "context", "users", "user", "current-context", "name", "it", "server"),
    *("certificate-authority-data", "client-certificate-data", "client-key-data", "token", "tokenFile", "exec"),
    *("apiVersion", "command", "args", "env", "auth-provider", "config", "insecure-skip-tls-verify", "proxy-url"),
    *(
        "tls-server-name",
        "namespace",
        "extensions",
        "https://host:1",
        "http://[",
        "AAAA",
        "client.authentication.k8s.io/v1",
    ),
)
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(WORDS) | st.text(max_size=4)


def mappings(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(WORDS), values, max_size=6)


VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | mappings(inner), max_leaves=20
)


def named(kind: str) -> st.SearchStrategy[Any]:
    """A list with an entry ``it`` whose body is anything that such a body may hold."""
    return st.fixed_dictionaries({"name": st.just("it"), kind: mappings(VALUES)}).map(lambda entry: [entry])


WHOLE = st.fixed_dictionaries(
    {"current-context": st.just("it"), "clusters": named("cluster"), "users": named("user")}
).flatmap(
    lambda document: st.sampled_from(
        [{**document, "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}]}]
    )
)
PIECES = (
    *(
        "clusters:",
        "- name: it",
        "  cluster: {",
        "  a: &x [*x]",
        "? [a]",
        "!!python/object:os.system x",
        "a: 2001-99-99",
    ),
    *("b: 0b", "c: 08", "\t", "- - - -", "<<: *y", "a: |", "%YAML 9.9", "---", "...", "\x00", "d: 1:99:99"),
    "e: !!binary x",
)
LINES = st.lists(st.sampled_from(PIECES), max_size=6).map("\n".join)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of the kubeconfig that each example writes."""
    return tmp_path_factory.mktemp("kubeconfig") / "config"


def look(file: Path, content: bytes) -> None:
    """Load it; a refusal is one line that names the file."""
    file.write_bytes(content)
    try:
        config.load_cluster(ClusterSettings(kubeconfig=(file,)), env={})
    except InputError as error:
        line = str(error)
        assert "\n" not in line
        assert "config" in line


@given(document=WHOLE | VALUES)
def test_any_document(file: Path, document: Any) -> None:
    look(file, json.dumps(document).encode())


@given(text=LINES)
def test_any_yaml(file: Path, text: str) -> None:
    look(file, text.encode())


@given(content=st.binary(max_size=60))
def test_any_bytes(file: Path, content: bytes) -> None:
    look(file, content)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"{" * 100_000, b'{"a":' * 100_000, b"- " * 50_000, b"x: " * 50_000]
)
def test_depth_is_no_crash(file: Path, content: bytes) -> None:
    look(file, content)


def test_what_has_no_end_is_not_read_to_it() -> None:
    with pytest.raises(InputError, match="/dev/zero is larger than 16 MiB"):
        config.load_cluster(ClusterSettings(kubeconfig=(Path("/dev/zero"),)), env={})


def test_aliases_that_multiply_take_no_memory(file: Path) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    look(file, "\n".join(lines).encode())
