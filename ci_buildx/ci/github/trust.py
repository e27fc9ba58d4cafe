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
    if _of_comment(event):
        # Whose the pull request is, the event does not say.
        return f"pull:{event.look('issue', 'number')}"
    trusted = event.env.get("GITHUB_REF_PROTECTED") == "true" and not _is_pull(event) and not _follows_other(event)
    return PROTECTED if trusted else UNPROTECTED


def fork_of(event: Event) -> str:
    """The repository that what is built comes from, "" if it is this one.

    A ``workflow_run`` follows a run that may have been a fork's, and takes up what that has left.
    """
    if event.name == "workflow_run":
        head = event.text("workflow_run", "head_repository", "full_name")
    elif _is_pull(event):
        head = event.text("pull_request", "head", "repo", "full_name")
    else:
        return ""
    return "" if head.lower() == event.repository.lower() else head.lower() or "unknown"


def _is_pull(event: Event) -> bool:
    return event.name.startswith("pull_request") and event.look("pull_request") is not None


def _of_comment(event: Event) -> bool:
    """Whether somebody has commented on a pull request: such runs are of the default branch and often build it."""
    return event.name == "issue_comment" and event.look("issue", "pull_request") is not None


def _follows_other(event: Event) -> bool:
    """Whether this run, which is of the default branch, follows one that was not a push to that."""
    if event.name != "workflow_run":
        return False
    branch, default = event.text("workflow_run", "head_branch"), event.text("repository", "default_branch")
    # Of a chain of them, the event does not say what the first was.
    cause = event.text("workflow_run", "event")
    return cause.startswith(("pull_request", "workflow_run")) or not branch or branch != default
