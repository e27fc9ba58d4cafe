"""The run: what the runner's variables and the event's payload say of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ci_buildx.ci.metadata.facts import PULL, Facts, Repository
from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass, field
from ci_buildx.settings.booleans import read_boolean

HEAD_SHA = "DOCKER_METADATA_PR_HEAD_SHA"
SHORT_LENGTH = "DOCKER_METADATA_SHORT_SHA_LENGTH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One run's ``env`` and the event's ``payload``, {} where the runner gave none."""

    env: Mapping[str, str]
    payload: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``push``, ``pull_request`` …"""
        return self.env.get("GITHUB_EVENT_NAME", "")

    @property
    def ref(self) -> str:
        """The complete ref; of a pull request it is the merge's, also where the workflow runs for the base."""
        if "pull_request_target" in self.name and "number" in self.payload:
            return f"{PULL}{self.payload['number']}/merge"
        return self.env.get("GITHUB_REF", "")

    @property
    def sha(self) -> str:
        """The commit."""
        return self.env.get("GITHUB_SHA", "")

    @property
    def repository(self) -> str:
        """``owner/name``."""
        return self.env.get("GITHUB_REPOSITORY", "")

    @property
    def server(self) -> str:
        """GitHub's own address, or that of a GitHub Enterprise Server; "" outside of a runner."""
        return self.env.get("GITHUB_SERVER_URL", "").rstrip("/")

    @property
    def is_private(self) -> bool:
        """Whether the repository is; what is not known to be public is not taken for it."""
        return bool(self.look("repository", "private"))

    def run_url(self, *, attempt: bool = False) -> str:
        """The run's page, "" outside of one."""
        run = self.env.get("GITHUB_RUN_ID", "")
        url = f"{self.server}/{self.repository}/actions/runs/{run}" if run else ""
        return f"{url}/attempts/{self.env.get('GITHUB_RUN_ATTEMPT', '1')}" if url and attempt else url

    def look(self, *path: str) -> Any:
        """A value of the payload, None where it has none."""
        found: Any = self.payload
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def text(self, *path: str) -> str:
        """The same as text, "" where it has none."""
        found = self.look(*path)
        return found if isinstance(found, str) else ""


def read(env: Mapping[str, str]) -> Event:
    """The event of this run; a payload that cannot be read says nothing."""
    try:
        payload = json.loads(Path(env["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    except (KeyError, OSError, ValueError):
        payload = {}
    return Event(env=env, payload=payload if isinstance(payload, dict) else {})


def facts(event: Event, *, repository: Repository, now: datetime, commit_date: datetime) -> Facts:
    """What tags and labels are made of. Raises InputError."""
    sha = event.text("pull_request", "head", "sha") if read_boolean(event.env.get(HEAD_SHA, "")) else ""
    return Facts(
        event=event.name,
        ref=event.ref,
        sha=sha if sha and "pull_request" in event.name else event.sha,
        now=now,
        commit_date=commit_date,
        base_ref=event.text("base_ref"),
        pull_base=event.text("pull_request", "base", "ref"),
        event_default_branch=event.text("repository", "default_branch"),
        repository=repository,
        short_length=_short_length(event.env.get(SHORT_LENGTH, "")),
    )


def repository_of(event: Event) -> Repository:
    """What the payload says of the repository."""
    url = event.text("repository", "html_url")
    return Repository(
        title=event.text("repository", "name") or event.repository.rpartition("/")[2],
        description=event.text("repository", "description"),
        url=url or (f"{event.server}/{event.repository}" if event.server else ""),
        license=event.text("repository", "license", "spdx_id"),
        default_branch=event.text("repository", "default_branch"),
    )


def _short_length(text: str) -> int:
    if text and not text.isdecimal():
        raise InputError(f"{text!r} is no number", source=SHORT_LENGTH)
    return int(text) if text else 7
