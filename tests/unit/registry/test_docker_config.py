import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.errors import InputError
from ci_buildx.model.secret import Secret
from ci_buildx.registry.credentials import HUB_KEY, DockerConfig, parse_docker_config
from tests.unit.registry.docker_auth import auth


def config(**auths: object) -> DockerConfig:
    return parse_docker_config(json.dumps({"auths": auths}), "config.json")


@pytest.mark.parametrize(
    ("key", "host", "path"),
    [
        ("https://index.docker.io/v1/", "docker.io", "library/alpine"),
        ("docker.io", "registry-1.docker.io", ""),
        ("https://registry.example:5000", "registry.example:5000", ""),
        ("http://registry.example/v2/", "registry.example", "any"),
        ("Registry.Example", "registry.example", ""),
        ("registry.example/group", "registry.example", "group/name"),
    ],
)
def test_keys_of_many_forms(key: str, host: str, path: str) -> None:
    login = config(**{key: auth("user", "pass:word")}).find(host, path)
    assert login is not None
    assert (login.username, login.secret) == ("user", Secret("pass:word"))


def test_the_longest_path_wins() -> None:
    found = config(**{"r.io": auth("host", "x"), "r.io/a": auth("a", "x"), "r.io/a/b": auth("ab", "x")})
    names = {
        path: login and login.username for path in ("", "a", "ab", "a/b/c", "z") if (login := found.find("r.io", path))
    }
    assert names == {"": "host", "a": "a", "ab": "host", "a/b/c": "ab", "z": "host"}


def test_a_repositorys_login_is_for_no_other_and_for_whoever_does_not_say_which() -> None:
    found = config(**{"r.io/a": auth("a", "x")})
    assert found.find("r.io", "b") is None
    assert found.find("r.io", "ab") is None
    assert found.find("r.io", "") is not None


def test_other_hosts_have_no_login() -> None:
    assert config(**{"r.io": auth("user", "x")}).find("r.io:5000", "") is None


def test_identity_tokens() -> None:
    login = config(**{"r.io": {**auth("00000000-0000", "x"), "identitytoken": "refresh"}}).find("r.io", "")
    assert login is not None
    assert login.identity_token == Secret("refresh")


def test_plain_user_name_and_password() -> None:
    login = config(**{"r.io": {"username": "user", "password": "word"}}).find("r.io", "")
    assert login is not None
    assert login.secret == Secret("word")


def test_an_empty_entry_is_no_login() -> None:
    assert config(**{"r.io": {}}).find("r.io", "") is None


def test_helpers_go_before_the_store() -> None:
    found = parse_docker_config(
        '{"credHelpers": {"https://gcr.io": "gcloud", "docker.io": "hub"}, "credsStore": "pass"}', "x"
    )
    assert [found.find_program(host) for host in ("gcr.io", "index.docker.io", "r.io")] == ["gcloud", "hub", "pass"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"auths": {', "malformed JSON at line 1, column 12; see docker login"),
        ("[]", "the file must be a JSON object"),
        ('{"auths": []}', "auths must be a JSON object"),
        ('{"auths": {"r.io": 1}}', "auths entry 'r.io' must be a JSON object"),
        ('{"auths": {"r.io": {"auth": "c2VjcmV0"}}}', "auths entry 'r.io': auth is not base64 of user:password"),
        ('{"auths": {"r.io": {"auth": "s3cret!"}}}', "auths entry 'r.io': auth is not base64 of user:password"),
        ('{"credsStore": 1}', "credsStore must be a string"),
    ],
)
def test_malformed_files_are_named_and_not_quoted(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_docker_config(text, "/home/me/config.json")
    assert str(caught.value).startswith(f"/home/me/config.json: {message}")
    assert "c2VjcmV0" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["auth", "username", "r.io", "identitytoken", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["auths", "credHelpers", "credsStore"]), VALUES))
def test_any_json_is_a_config_or_an_input_error(document: dict[str, object]) -> None:
    with suppress(InputError):
        parse_docker_config(json.dumps(document), "x").find("r.io", "a/b")


@pytest.mark.parametrize(
    ("other", "exact", "host"),
    [
        ("docker.io", HUB_KEY, "docker.io"),
        ("https://index.docker.io/v1", HUB_KEY, "registry-1.docker.io"),
        ("https://r.example/v1/", "r.example", "r.example"),
        ("HTTP://R.example", "r.example", "r.example"),
    ],
)
def test_dockers_own_key_wins_in_any_order(other: str, exact: str, host: str) -> None:
    auths = {other: {"username": "other", "password": "p"}, exact: {"username": "exact", "password": "p"}}
    for pairs in (auths.items(), reversed(auths.items())):
        found = parse_docker_config(json.dumps({"auths": dict(pairs)}), "test").find(host, "group/app")
        assert found is not None
        assert found.username == "exact"


@pytest.mark.parametrize(
    "key",
    [
        *(
            "r.example.evil.io",
            "evil.io/r.example",
            "https://evil.io/?r.example",
            "r.example@evil.io",
            "https://u@r.example",
        ),
        *("r.example:443", "r.example.", "https://r.example\\@evil.io", "//r.example", "r.example?x"),
        *("https://index.docker.io.evil.io/v1/", "registry.hub.docker.com"),
    ],
)
def test_keys_that_look_like_a_host_are_not_its_login(key: str) -> None:
    config = parse_docker_config(json.dumps({"auths": {key: {"username": "u", "password": "p"}}}), "test")
    assert [config.find(host, "group/app") for host in ("r.example", "docker.io", "registry-1.docker.io")] == [None] * 3
