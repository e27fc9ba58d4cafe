"""Whom a job's cache may be shared with: as :mod:`ci_buildx.ci.github.trust` decides, by GitLab's variables. Pure."""

from __future__ import annotations

from collections.abc import Mapping

PROTECTED = ""
UNPROTECTED = "unprotected"


def scope_of(env: Mapping[str, str], wanted: str = "") -> str:
    """The scope of a job, PROTECTED for protected refs; ``wanted`` counts except for forks.

    A merge request's pipeline is of no protected ref. One from a fork that runs in this project has the fork's scope.
    """
    source = env.get("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", "")
    if source and source != env.get("CI_PROJECT_PATH", ""):
        return f"fork:{source.lower()}"
    if wanted:
        return PROTECTED if wanted == "protected" else wanted
    protected = env.get("CI_COMMIT_REF_PROTECTED") == "true" and not env.get("CI_MERGE_REQUEST_IID")
    return PROTECTED if protected else UNPROTECTED
