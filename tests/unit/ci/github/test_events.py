"""Runs that are not of a protected ref share neither builders nor cache keys with those that are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ci_buildx.build import caches
from ci_buildx.build.context import origin, sticky_key
from ci_buildx.builder.builder import Builder, BuilderLocation, ClientKeys
from ci_buildx.builder.plan import Plan
from ci_buildx.ci.github import events
from ci_buildx.ci.github.events import WorkflowEvent
from ci_buildx.errors import InputError
from ci_buildx.model.secret import Secret
from ci_buildx.settings.values import BuildSettings, Settings, TypedAttributes

HERE = "team/app"


def pull(head: str | None) -> dict[str, Any]:
    repo = {"full_name": head} if head else None
    return {"pull_request": {"head": {"repo": repo}}}


def after(head: str, event: str = "push", branch: str = "main") -> dict[str, Any]:
    run = {"head_repository": {"full_name": head}, "event": event, "head_branch": branch}
    return {"workflow_run": run, "repository": {"default_branch": "main"}}


COMMENT = {"issue": {"number": 17, "pull_request": {"url": "…"}}}


@pytest.mark.parametrize(
    ("name", "payload", "protected", "wanted", "expected"),
    [
        ("push", {}, "true", "", ""),
        ("push", {}, "false", "", "unprotected"),
        ("push", {}, "", "", "unprotected"),
        ("push", {}, "false", "staging", "staging"),
        ("push", {}, "false", "protected", ""),
        ("pull_request", pull("team/app"), "false", "", "unprotected"),
        ("pull_request", pull("Team/App"), "true", "", "unprotected"),
        ("pull_request", pull("mallory/app"), "false", "", "fork:mallory/app"),
        ("pull_request", pull("mallory/app"), "true", "protected", "fork:mallory/app"),
        ("pull_request_target", pull("mallory/app"), "true", "protected", "fork:mallory/app"),
        ("pull_request", pull(None), "false", "", "fork:unknown"),
        ("schedule", {}, "true", "", ""),
        ("workflow_run", after("Team/app"), "true", "", ""),
        ("workflow_run", after("team/app", branch="topic"), "true", "", "unprotected"),
        ("workflow_run", after("team/app", "pull_request"), "true", "", "unprotected"),
        ("workflow_run", after("team/app", "workflow_run"), "true", "", "unprotected"),
        ("workflow_run", after("mallory/app", "pull_request"), "true", "protected", "fork:mallory/app"),
        ("workflow_run", {}, "true", "", "fork:unknown"),
        ("issue_comment", COMMENT, "true", "", "pull:17"),
        ("issue_comment", COMMENT, "true", "protected", ""),
        ("issue_comment", {"issue": {"number": 3}}, "true", "", ""),
    ],
)
def test_the_scope_of_a_run(name: str, payload: dict[str, Any], protected: str, wanted: str, expected: str) -> None:
    env = {"GITHUB_EVENT_NAME": name, "GITHUB_REPOSITORY": HERE, "GITHUB_REF_PROTECTED": protected}
    assert events.choose_scope(WorkflowEvent(env=env, payload=payload), wanted) == expected


SCOPES = ("", "unprotected", "fork:mallory/app", "fork:eve/app")


def env_of(scope: str) -> dict[str, str]:
    return {"GITHUB_REPOSITORY": HERE, origin.TRUST_SCOPE: scope}


def test_no_two_scopes_have_a_key_in_common() -> None:
    settings = Settings(build=BuildSettings(context=Path("/src"), dockerfile=None))
    cache = (TypedAttributes(type="gha", attrs=(("token", "t"), ("url", "u"), ("scope", "mine"))),)
    shared = {origin.make_context_shared_key(Path("/src"), env_of(scope)) for scope in SCOPES}
    sticky = {sticky_key.make_sticky_key(settings, (), env_of(scope)) for scope in SCOPES}
    of_cache = {caches.complete_actions_caches(cache, {}, trust=scope)[0].get("scope") for scope in SCOPES}
    assert len(shared) == len(sticky) == len(of_cache) == len(SCOPES)


def test_protected_refs_have_the_keys_that_people_have() -> None:
    assert origin.make_context_shared_key(Path("/src"), env_of("")) == origin.make_context_shared_key(
        Path("/src"), {"GITHUB_REPOSITORY": HERE}
    )


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("of_builder", SCOPES)
def test_only_runs_of_its_scope_use_a_builder_and_protected_ones_any(scope: str, of_builder: str) -> None:
    keys = ClientKeys(ca=b"", certificate=b"", key=Secret(""))
    builder = Builder(
        location=BuilderLocation(name="b", namespace="n"), plan=Plan(nodes=()), keys=keys, trust=of_builder
    )
    if scope in ("", of_builder):
        origin.check_trust(builder, env_of(scope))
    else:
        with pytest.raises(InputError, match=f"builder 'b' is not allowed for runs of trust scope '{scope}'"):
            origin.check_trust(builder, env_of(scope))
