"""Whom a run's cache may be shared with.

A lasting builder, the context that buildkitd keeps, a replica chosen by its key and GitHub's cache serve every run that
names them. By default runs of protected refs have them to themselves: other refs of the repository share theirs, and
pull requests from a fork have their fork's. It is a fence against accidents and poisoned caches, not against whoever
already runs code on a trusted runner.
"""

from __future__ import annotations

from ci_buildx.ci.github.events import Event

PROTECTED = ""
UNPROTECTED = "unprotected"


def scope_of(event: Event, wanted: str = "") -> str:
    """The scope of a run, PROTECTED for refs that the repository protects; ``wanted`` counts except for forks."""
    fork = fork_of(event)
    if fork:
        return f"fork:{fork}"
    if wanted:
        return PROTECTED if wanted == "protected" else wanted
    return PROTECTED if event.env.get("GITHUB_REF_PROTECTED") == "true" and not _is_pull(event) else UNPROTECTED


def fork_of(event: Event) -> str:
    """The repository that a pull request comes from, "" if it is this one or no pull request."""
    if not _is_pull(event):
        return ""
    head, here = event.text("pull_request", "head", "repo", "full_name"), event.repository
    return "" if head.lower() == here.lower() else head.lower() or "unknown"


def _is_pull(event: Event) -> bool:
    return event.name.startswith("pull_request") and event.look("pull_request") is not None
