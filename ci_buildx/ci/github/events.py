"""The run, from the runner's variables and the event's payload, and the trust scope of its cache."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ci_buildx.ci.metadata.facts import PULL, CommitFacts, RepositoryFacts
from ci_buildx.errors import InputError
from ci_buildx.model import http_calls
from ci_buildx.model.documents import parse_json
from ci_buildx.model.record import dataclass, field
from ci_buildx.settings.syntax import read_boolean

HEAD_SHA = "DOCKER_METADATA_PR_HEAD_SHA"
SHORT_LENGTH = "DOCKER_METADATA_SHORT_SHA_LENGTH"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowEvent:
    """A run: its ``env`` and the event's ``payload``, {} if the runner has none."""

    env: Mapping[str, str]
    payload: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The event's name, such as ``push`` or ``pull_request``."""
        return self.env.get("GITHUB_EVENT_NAME", "")

    @property
    def ref(self) -> str:
        """The full ref; for a pull request, its merge ref, even if the workflow runs on the base."""
        if "pull_request_target" in self.name and "number" in self.payload:
            return f"{PULL}{self.payload['number']}/merge"
        return self.env.get("GITHUB_REF", "")

    @property
    def sha(self) -> str:
        """The commit's SHA."""
        return self.env.get("GITHUB_SHA", "")

    @property
    def repository(self) -> str:
        """The repository as ``owner/name``."""
        return self.env.get("GITHUB_REPOSITORY", "")

    @property
    def server(self) -> str:
        """URL of GitHub or of the GitHub Enterprise Server; "" outside a runner."""
        return self.env.get("GITHUB_SERVER_URL", "").rstrip("/")

    @property
    def is_private(self) -> bool:
        """Whether the event marks the repository as private."""
        return bool(self.look("repository", "private"))

    def run_url(self, *, attempt: bool = False) -> str:
        """Return the URL of the run's page, or "" outside a run."""
        run = self.env.get("GITHUB_RUN_ID", "")
        url = f"{self.server}/{self.repository}/actions/runs/{run}" if run else ""
        return f"{url}/attempts/{self.env.get('GITHUB_RUN_ATTEMPT', '1')}" if url and attempt else url

    def look(self, *path: str) -> Any:
        """Return a value of the payload, or None."""
        found: Any = self.payload
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def read_text(self, *path: str) -> str:
        """Return a text of the payload, or ""."""
        found = self.look(*path)
        return found if isinstance(found, str) else ""


def read_event(env: Mapping[str, str]) -> WorkflowEvent:
    """Read this run's event. An unreadable payload counts as empty."""
    try:
        payload = parse_json(Path(env["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    except (KeyError, OSError, ValueError):
        payload = {}
    return WorkflowEvent(env=env, payload=payload if isinstance(payload, dict) else {})


def make_facts(
    event: WorkflowEvent, *, repository: RepositoryFacts, now: datetime, commit_date: datetime
) -> CommitFacts:
    """Return the facts for tags and labels. Raises InputError."""
    sha = event.read_text("pull_request", "head", "sha") if read_boolean(event.env.get(HEAD_SHA, "")) else ""
    return CommitFacts(
        event=event.name,
        ref=event.ref,
        sha=sha if sha and "pull_request" in event.name else event.sha,
        now=now,
        commit_date=commit_date,
        base_ref=event.read_text("base_ref"),
        pull_base=event.read_text("pull_request", "base", "ref"),
        event_default_branch=event.read_text("repository", "default_branch"),
        repository=repository,
        short_length=_read_short_length(event.env.get(SHORT_LENGTH, "")),
    )


def read_repository(event: WorkflowEvent) -> RepositoryFacts:
    """Return the payload's facts about the repository."""
    url = event.read_text("repository", "html_url")
    return RepositoryFacts(
        title=event.read_text("repository", "name") or event.repository.rpartition("/")[2],
        description=event.read_text("repository", "description"),
        url=url or (f"{event.server}/{event.repository}" if event.server else ""),
        license=event.read_text("repository", "license", "spdx_id"),
        default_branch=event.read_text("repository", "default_branch"),
    )


def _read_short_length(text: str) -> int:
    if text and not text.isdecimal():
        raise InputError(f"{text!r} is not a number", source=SHORT_LENGTH)
    return int(text) if text else 7


_PATIENCE = 10.0
_VERSION = "2022-11-28"


def fetch_repository(event: WorkflowEvent, token: str) -> dict[str, Any]:
    """Fetch the repository in the form that events have, or {} on failure."""
    return _get_json(event, f"/repos/{event.repository}", token)


def fetch_commit_date(event: WorkflowEvent, token: str) -> str:
    """Fetch the commit's date as ISO 8601, or "" on failure."""
    found = _get_json(event, f"/repos/{event.repository}/commits/{event.sha}", token)
    try:
        return str(found["commit"]["committer"]["date"])
    except (KeyError, TypeError):
        return ""


def _get_json(event: WorkflowEvent, path: str, token: str) -> dict[str, Any]:
    import requests

    address = event.env.get("GITHUB_API_URL", "").rstrip("/")
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": _VERSION,
    }
    try:
        answer = http_calls.send_request("GET", f"{address}{path}", headers=headers, timeout=_PATIENCE)
        found = answer.json() if answer.ok else {}
    except (requests.RequestException, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


PROTECTED = ""
UNPROTECTED = "unprotected"


def choose_scope(event: WorkflowEvent, wanted: str = "") -> str:
    """Return a run's trust scope: PROTECTED for protected refs; ``wanted`` overrides it except for forks."""
    fork = find_fork(event)
    if fork:
        return f"fork:{fork}"
    if wanted:
        return PROTECTED if wanted == "protected" else wanted
    if _is_comment_on_pull_request(event):
        # The event does not contain the pull request's author.
        return f"pull:{event.look('issue', 'number')}"
    trusted = (
        event.env.get("GITHUB_REF_PROTECTED") == "true"
        and not _is_pull_request(event)
        and not _follows_another_run(event)
    )
    return PROTECTED if trusted else UNPROTECTED


def find_fork(event: WorkflowEvent) -> str:
    """Return the repository that the built code comes from, or "" if it is this one.

    A ``workflow_run`` event follows a run that may have been a fork's, and may use that run's artifacts.
    """
    if event.name == "workflow_run":
        head = event.read_text("workflow_run", "head_repository", "full_name")
    elif _is_pull_request(event):
        head = event.read_text("pull_request", "head", "repo", "full_name")
    else:
        return ""
    return "" if head.lower() == event.repository.lower() else head.lower() or "unknown"


def _is_pull_request(event: WorkflowEvent) -> bool:
    return event.name.startswith("pull_request") and event.look("pull_request") is not None


def _is_comment_on_pull_request(event: WorkflowEvent) -> bool:
    """Return whether the event is a comment on a pull request.

    Such runs are on the default branch and often build the pull request.
    """
    return event.name == "issue_comment" and event.look("issue", "pull_request") is not None


def _follows_another_run(event: WorkflowEvent) -> bool:
    """Return whether this run follows one that was not a push to the default branch.

    A ``workflow_run`` itself is always on the default branch.
    """
    if event.name != "workflow_run":
        return False
    branch, default = event.read_text("workflow_run", "head_branch"), event.read_text("repository", "default_branch")
    # In a chain of runs, the event does not name the first one's cause.
    cause = event.read_text("workflow_run", "event")
    return cause.startswith(("pull_request", "workflow_run")) or not branch or branch != default
