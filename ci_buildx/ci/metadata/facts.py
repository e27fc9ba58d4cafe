"""What is known of the commit and its repository."""

from __future__ import annotations

from datetime import datetime

from ci_buildx.model.record import dataclass, field

HEADS, TAGS, PULL = "refs/heads/", "refs/tags/", "refs/pull/"
_ON_DEFAULT = ("create", "discussion", "issues", "schedule")
"""Events that always run for the last commit of the default branch (GitHub's "Events that trigger workflows")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryFacts:
    """The repository, for the image's labels; what is not known is empty."""

    title: str = ""
    description: str = ""
    url: str = ""
    license: str = ""
    default_branch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFacts:
    """One run. Times are aware.

    ``ref`` is complete (``refs/heads/main``), ``event`` GitHub's name for it. ``base_ref`` is the branch that a pushed
    tag came from, as the event says, ``pull_base`` the branch that a pull request is for; ``event_default_branch``
    what the event calls the default branch ("" where it does not say).
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
        """The ref without ``prefix``, "" where it begins otherwise."""
        return self.ref.removeprefix(prefix) if self.ref.startswith(prefix) else ""

    @property
    def short_sha(self) -> str:
        """As many digits as DOCKER_METADATA_SHORT_SHA_LENGTH says."""
        return self.sha[: self.short_length]

    @property
    def base(self) -> str:
        """The branch that a tag was pushed with, or that a pull request is for."""
        if self.ref.startswith(TAGS) and self.base_ref:
            return self.base_ref.removeprefix(HEADS)
        return self.pull_base if self.ref.startswith(PULL) else ""

    @property
    def on_default_branch(self) -> bool:
        """Whether this is the default branch."""
        branch = self.ref.removeprefix(HEADS)
        if not branch:
            return False
        return branch == self.event_default_branch or any(name in self.event for name in _ON_DEFAULT)
