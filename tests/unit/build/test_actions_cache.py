"""As buildx 0.38.2 has it: ``build/opt.go``, ``addGithubToken`` and ``isActive``."""

import pytest

from ci_buildx.build.caches import complete_actions_caches
from ci_buildx.settings.values import TypedAttributes

V1 = {"ACTIONS_CACHE_URL": "https://cache/", "ACTIONS_RUNTIME_TOKEN": "t0ken"}
RESULTS = {"ACTIONS_RESULTS_URL": "https://results/", "ACTIONS_RUNTIME_TOKEN": "t0ken"}
V2 = RESULTS | {"ACTIONS_CACHE_SERVICE_V2": "True"}


def gha(**attrs: str) -> TypedAttributes:
    return TypedAttributes(type="gha", attrs=tuple(attrs.items()))


@pytest.mark.parametrize(
    ("typed", "env", "expected"),
    [
        ({}, V1, {"token": "t0ken", "url": "https://cache/"}),
        ({}, RESULTS, {"token": "t0ken", "url": "https://results/"}),
        ({}, V2, {"token": "t0ken", "url": "https://results/", "url_v2": "https://results/"}),
        ({}, V1 | V2, {"token": "t0ken", "url": "https://cache/", "url_v2": "https://results/"}),
        ({"version": "1"}, V2, {"version": "1", "token": "t0ken", "url": "https://results/"}),
        ({"url": "u", "token": "t", "mode": "max"}, V1, {"url": "u", "token": "t", "mode": "max"}),
        ({"url_v2": "u"}, {"ACTIONS_RUNTIME_TOKEN": "t"}, {"url_v2": "u", "token": "t"}),
        ({}, {"ACTIONS_CACHE_URL": "https://cache/"}, None),
        ({}, {"ACTIONS_RUNTIME_TOKEN": "t"}, None),
        ({}, {}, None),
    ],
)
def test_completed(typed: dict[str, str], env: dict[str, str], expected: dict[str, str] | None) -> None:
    found = [dict(cache.attrs) for cache in complete_actions_caches([gha(**typed)], env)]
    assert found == ([expected] if expected is not None else [])


def test_others_are_left_alone() -> None:
    others = (TypedAttributes(type="registry", attrs=(("ref", "r"),)), TypedAttributes(type="inline"))
    assert complete_actions_caches(others, V2) == others


AWS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_SESSION_TOKEN": "t0ken"}


@pytest.mark.parametrize(
    ("typed", "env", "expected"),
    [
        ({}, AWS, {"access_key_id": "id", "secret_access_key": "s3cret", "session_token": "t0ken"}),
        ({"access_key_id": "a", "secret_access_key": "b"}, AWS, {"access_key_id": "a", "secret_access_key": "b"}),
        ({"session_token": "own"}, AWS, {"session_token": "own", "access_key_id": "id", "secret_access_key": "s3cret"}),
        ({}, {}, {}),
    ],
)
def test_s3_is_opened_by_the_jobs_credentials(
    typed: dict[str, str], env: dict[str, str], expected: dict[str, str]
) -> None:
    (cache,) = complete_actions_caches([TypedAttributes(type="s3", attrs=tuple(typed.items()))], env)
    assert dict(cache.attrs) == expected
