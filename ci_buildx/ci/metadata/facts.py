"""Facts about a commit and its repository."""

from __future__ import annotations

from datetime import datetime

from ci_buildx.model.record import dataclass, field

HEADS, TAGS, PULL = "refs/heads/", "refs/tags/", "refs/pull/"
_ON_DEFAULT = ("create", "discussion", "issues", "schedule")
"""Events that always run on the last commit of the default branch (GitHub's "Events that trigger workflows")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryFacts:
    """Facts about the repository for the image's labels; unknown ones are empty."""

    title: str = ""
    description: str = ""
    url: str = ""
    license: str = ""
    default_branch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFacts:
    """Facts about one run. Times are timezone-aware.

    ``ref`` is the full ref (``refs/heads/main``), ``event`` GitHub's name of the event. ``base_ref`` is the branch that
    a pushed tag came from, according to the event. ``pull_base`` is the target branch of a pull request.
    ``event_default_branch`` is the default branch according to the event, or "".
    """

    event: str
    ref: str
    sha: str
    now: datetime
    commit_date: datetime
    base_ref: str = ""
    pull_base: str = ""
    event_default_branch: str = ""
    repository: RepositoryFacts = field(default_factory=RepositoryFacts)
    short_length: int = 7

    def strip_ref_prefix(self, prefix: str) -> str:
        """Return the ref without ``prefix``, or "" if it has another one."""
        return self.ref.removeprefix(prefix) if self.ref.startswith(prefix) else ""

    @property
    def short_sha(self) -> str:
        """The commit's first digits; DOCKER_METADATA_SHORT_SHA_LENGTH sets their number."""
        return self.sha[: self.short_length]

    @property
    def base(self) -> str:
        """The branch that a tag was pushed from, or the target branch of a pull request."""
        if self.ref.startswith(TAGS) and self.base_ref:
            return self.base_ref.removeprefix(HEADS)
        return self.pull_base if self.ref.startswith(PULL) else ""

    @property
    def on_default_branch(self) -> bool:
        """Whether the run is on the default branch."""
        branch = self.ref.removeprefix(HEADS)
        if not branch:
            return False
        return branch == self.event_default_branch or any(name in self.event for name in _ON_DEFAULT)
