"""Sources that are pinned to the recorded content."""

from __future__ import annotations

import fnmatch

import pytest

from ci_buildx.errors import InputError
from ci_buildx.replay.pins import list_pins, make_pin_policy, name_git_source, parse_package
from ci_buildx.replay.predicate import BuildPredicate
from ci_buildx.settings.values import SourcePolicy, SourceRule, SourceSelector
from tests.unit.replay.provenance import COMMIT, IMAGE_DIGEST, REPOSITORY, TAR, make_predicate

ALPINE = "docker-image://docker.io/library/alpine:3.22"


def evaluate(policy: SourcePolicy, identifier: str) -> tuple[str, dict[str, str]] | None:
    """Return a source as BuildKit's engine would use it (v0.34.2, ``sourcepolicy/engine.go``), None if it is denied."""
    attributes: dict[str, str] = {}
    for _ in range(20):
        denied, changed = False, False
        for rule in policy.rules:
            assert rule.selector is not None
            pattern = rule.selector.identifier
            if identifier != pattern and (rule.selector.match_type or not fnmatch.fnmatchcase(identifier, pattern)):
                continue
            if rule.action < 2:
                denied = rule.action == 1
                continue
            assert rule.updates is not None
            changed = (identifier, attributes) != (rule.updates.identifier, attributes | dict(rule.updates.attrs))
            identifier, attributes = rule.updates.identifier, attributes | dict(rule.updates.attrs)
            if changed:
                break
        if not changed:
            return None if denied else (identifier, attributes)
    raise AssertionError("the policy never stops converting")


def test_recorded_sources_get_their_digests() -> None:
    policy = make_pin_policy(make_predicate())
    pinned = f"{ALPINE}@{IMAGE_DIGEST}"
    assert evaluate(policy, ALPINE) == (pinned, {})
    assert evaluate(policy, pinned) == (pinned, {})
    assert evaluate(policy, TAR) == (TAR, {"http.checksum": "sha256:" + "b" * 64})


def test_a_repository_is_pinned_to_its_commit() -> None:
    policy = make_pin_policy(make_predicate(uri=REPOSITORY, digest=f"sha1:{COMMIT}"))
    name = "git://example.com/team/app.git#main"
    assert evaluate(policy, name) == (name, {"git.checksum": COMMIT})


@pytest.mark.parametrize(
    "identifier",
    [
        "docker-image://docker.io/library/alpine:3.21",
        f"{ALPINE}@sha256:{'d' * 64}",
        "https://example.com/other.tar",
        "git://example.com/team/app.git#main",
        "oci-layout://x@sha256:" + "a" * 64,
        "",
    ],
)
def test_everything_else_is_denied(identifier: str) -> None:
    assert evaluate(make_pin_policy(make_predicate()), identifier) is None


def test_two_digests_of_one_name_are_ambiguous() -> None:
    uri = "pkg:docker/alpine@3.22"
    both = [{"uri": uri, "digest": {"sha256": mark * 64}} for mark in "ad"]
    policy = make_pin_policy(make_predicate(materials=both))
    assert evaluate(policy, ALPINE) is None
    assert evaluate(policy, f"{ALPINE}@sha256:{'d' * 64}") == (f"{ALPINE}@sha256:{'d' * 64}", {})


def test_a_source_without_a_digest_is_not_pinned() -> None:
    assert list_pins(make_predicate(digest="", materials=[{"uri": "pkg:docker/alpine"}])) == []


def test_the_users_policy_may_only_deny() -> None:
    def make_rule(action: int) -> SourcePolicy:
        return SourcePolicy(rules=(SourceRule(action=action, selector=SourceSelector(identifier=TAR)),))

    policy = make_pin_policy(make_predicate(), make_rule(1))
    assert evaluate(policy, TAR) is None
    with pytest.raises(InputError, match="cannot be combined"):
        make_pin_policy(make_predicate(), make_rule(0))


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("https://example.com/app.git", "git://example.com/app.git"),
        ("https://user:secret@example.com:8443/app.git#v1:docker", "git://example.com:8443/app.git#v1:docker"),
        ("https://example.com/app.git?ref=v1&subdir=docker", "git://example.com/app.git#v1:docker"),
        ("ssh://git@example.com/app.git#v1", "git://example.com/app.git#v1"),
        ("git@example.com:team/app.git#:docker", "git://example.com/team/app.git#:docker"),
        ("https://[/app.git", ""),
    ],
)
def test_names_of_repositories(uri: str, name: str) -> None:
    assert name_git_source(uri) == name


@pytest.mark.parametrize(
    ("uri", "reference", "digest"),
    [
        ("pkg:docker/alpine", "docker.io/library/alpine:latest", ""),
        ("pkg:docker/docker/dockerfile@1", "docker.io/docker/dockerfile:1", ""),
        ("pkg:docker/localhost:5000/app@1?platform=linux%2Farm64", "localhost:5000/app:1", ""),
        (f"pkg:docker/alpine?digest={IMAGE_DIGEST}", "docker.io/library/alpine", IMAGE_DIGEST),
        (f"pkg:docker/alpine@{IMAGE_DIGEST}", "docker.io/library/alpine", IMAGE_DIGEST),
    ],
)
def test_package_urls(uri: str, reference: str, digest: str) -> None:
    assert parse_package(uri)[:2] == (reference, digest)


def test_a_package_url_with_another_digest_is_malformed() -> None:
    found: BuildPredicate = make_predicate(
        materials=[{"uri": f"pkg:docker/alpine?digest=sha256:{'d' * 64}", "digest": {"sha256": "a" * 64}}]
    )
    with pytest.raises(InputError, match="another digest"):
        list_pins(found)
