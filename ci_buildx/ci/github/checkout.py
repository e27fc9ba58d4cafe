"""The checked-out ref and commit, for metadata-action's ``context: git``; the event may name others.

Docker's ``actions-toolkit`` (``src/git.ts``) parses git's decoration of a detached HEAD; this module lists the refs
at HEAD. A tag wins over a branch: actions/checkout leaves at most one of them for a run's ref.
"""

from __future__ import annotations

from pathlib import Path

from ci_buildx.ci.metadata.facts import HEADS, PULL, TAGS
from ci_buildx.errors import InputError
from ci_buildx.fsutil.git import Git, GitFailed

_PATIENCE = 10.0
_REMOTES = "refs/remotes/"


def read_checkout(folder: Path, *, source: str) -> tuple[str, str]:
    """Return the full ref and the commit of a checkout. Raises InputError."""
    sha = _run_git(folder, source, "rev-parse", "HEAD")
    attached = _run_git(folder, source, "rev-parse", "--symbolic-full-name", "HEAD")
    if attached != "HEAD":
        return attached, sha
    pointing = _run_git(folder, source, "for-each-ref", "--points-at", "HEAD", "--format=%(refname)").splitlines()
    refs = [ref for ref in map(_map_to_origin, pointing) if ref]
    if not refs:
        fix = "check out a branch or a tag, or leave it out: then the run's ref counts"
        raise InputError("no branch, tag or pull request is at the commit that is checked out", source=source, fix=fix)
    return min(refs, key=lambda ref: (TAGS, HEADS, PULL).index(_read_kind(ref))), sha


def _map_to_origin(ref: str) -> str:
    """Return the ref's name at the origin, or "" for other refs: actions/checkout fetches into ``remotes``."""
    if ref.startswith(_REMOTES):
        rest = ref.removeprefix(_REMOTES)
        name = rest.partition("/")[2]
        ref = f"refs/{rest}" if rest.startswith("pull/") else f"{HEADS}{name}" if name != "HEAD" else ""
    return ref if _read_kind(ref) else ""


def _read_kind(ref: str) -> str:
    return next((prefix for prefix in (TAGS, HEADS, PULL) if ref.startswith(prefix)), "")


def _run_git(folder: Path, source: str, *arguments: str) -> str:
    try:
        return Git(folder).read_text(*arguments, timeout=_PATIENCE)
    except GitFailed as error:
        raise InputError(str(error), source=source, fix="put actions/checkout before this step") from error
