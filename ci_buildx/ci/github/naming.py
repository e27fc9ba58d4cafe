"""Tags, labels and annotations by docker/metadata-action's rules, its outputs, and the checked-out commit.

The commit is for metadata-action's ``context: git``; the event may name another. Docker's ``actions-toolkit``
(``src/git.ts``) parses git's decoration of a detached HEAD; this module lists the refs at HEAD. A tag wins over a
branch: actions/checkout leaves at most one of them for a run's ref.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ci_buildx.ci.github import events
from ci_buildx.ci.github.events import WorkflowEvent
from ci_buildx.ci.inputs import MetadataContext
from ci_buildx.ci.metadata import metadata
from ci_buildx.ci.metadata.facts import HEADS, PULL, TAGS, RepositoryFacts
from ci_buildx.ci.metadata.metadata import ImageMetadata, MetadataInputs
from ci_buildx.errors import InputError
from ci_buildx.fsutil import scratch
from ci_buildx.fsutil.git import Git, GitFailed
from ci_buildx.model.record import replace
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.syntax import read_boolean

LEVELS, SET_ENV = "DOCKER_METADATA_ANNOTATIONS_LEVELS", "DOCKER_METADATA_SET_OUTPUT_ENV"
_ASKS = ("images", "tag-rules", "flavor")
_TEXTS = ("labels", "annotations", "tag-rules", "flavor")
_PATIENCE = 10.0


def make_metadata(given: RawValues, event: WorkflowEvent, *, now: datetime | None = None) -> ImageMetadata | None:
    """Make the image's metadata from the inputs and the event.

    Returns None if neither image names nor rules are given. Raises InputError.
    """
    if not any(given.read_text(name) for name in _ASKS):
        return None
    now = now or datetime.now(UTC)
    sha = event.sha
    if by_git := given.read_choice("metadata-context", MetadataContext) is MetadataContext.GIT:
        ref, sha = read_checkout(given.cwd, source=given.find_source("metadata-context"))
    dated = any("commit_date" in given.read_text(name) for name in _TEXTS)
    facts = events.make_facts(
        event,
        repository=_read_repository(given, event),
        now=now,
        commit_date=_find_commit_date(given, event, sha) or now if dated else now,
    )
    if by_git:
        facts = replace(facts, ref=ref, sha=sha)
    wanted = MetadataInputs(
        images=given.read_texts("images"),
        rules=given.read_texts("tag-rules"),
        flavor=given.read_texts("flavor"),
        labels=given.read_texts("labels", comments=True),
        annotations=given.read_texts("annotations", comments=True),
        levels=event.env.get(LEVELS, "manifest").split(","),
        source=given.find_source("tag-rules"),
    )
    return metadata.make_metadata(wanted, facts)


def add_metadata(given: RawValues, made: ImageMetadata | None) -> RawValues:
    """Add the tags, labels and annotations to the inputs. The user's own tags come first."""
    if made is None:
        return given
    tags = [*given.read_texts("tags"), *(tag for tag in made.tags if made.images)]
    return given.replace_values(
        tags=list(dict.fromkeys(tags)),
        labels=[f"{key}={value}" for key, value in made.labels],
        annotations=list(made.annotations) if given.read_text("annotations") else [],
    )


def make_metadata_outputs(made: ImageMetadata, given: RawValues) -> dict[str, str]:
    """Return the outputs by metadata-action's names. The bake files are written to the runner's temporary folder."""

    def join_values(values: tuple[str, ...], name: str) -> str:
        separator = given.values.get(name)
        return (separator if isinstance(separator, str) and separator else "\n").join(values)

    labels = tuple(f"{key}={value}" for key, value in made.labels)
    texts = {
        "version": made.version,
        "tags": join_values(made.tags, "sep-tags"),
        "tag-names": join_values(made.tag_names, "sep-tags"),
        "labels": join_values(labels, "sep-labels"),
        "annotations": join_values(made.annotations, "sep-annotations"),
        "json": json.dumps(made.to_json()),
    }
    return texts | _write_bake_files(made, given)


def make_metadata_variables(texts: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Return ``DOCKER_METADATA_OUTPUT_…`` for later steps, or nothing if the environment disables them."""
    if read_boolean(env.get(SET_ENV, "")) is False:
        return {}
    return {f"DOCKER_METADATA_OUTPUT_{name.replace('-', '_').upper()}": text for name, text in texts.items()}


def _write_bake_files(made: ImageMetadata, given: RawValues) -> dict[str, str]:
    parent = given.env.get("RUNNER_TEMP")
    if not parent:
        return {}
    folder = scratch.name_shared(scratch.BAKE, parent)
    folder.mkdir(mode=0o700)
    files = {}
    for name, document in made.make_bake_files(given.read_text("bake-target") or metadata.BAKE_TARGET).items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        files[name] = str(path)
    return files


def _read_repository(given: RawValues, event: WorkflowEvent) -> RepositoryFacts:
    """Read the repository from the event or, if that lacks it and a token is given, from GitHub's API."""
    if event.look("repository", "html_url") or not given.read_text("github-token"):
        return events.read_repository(event)

    found = events.fetch_repository(event, given.read_text("github-token"))
    return events.read_repository(WorkflowEvent(env=event.env, payload={**event.payload, "repository": found}))


def _find_commit_date(given: RawValues, event: WorkflowEvent, sha: str) -> datetime | None:
    """Find the commit's date in the event, else in the checkout, else through GitHub's API."""
    commits = event.look("commits")
    known = [*(commits if isinstance(commits, list) else []), event.look("head_commit")]
    for commit in known:
        if isinstance(commit, dict) and commit.get("id") == sha and isinstance(commit.get("timestamp"), str):
            return _read_date(commit["timestamp"])
    if text := _read_git_date(sha, given.cwd):
        return _read_date(text)
    token = given.read_text("github-token")
    if not token:
        return None

    return _read_date(events.fetch_commit_date(event, token))


def _read_git_date(sha: str, cwd: Path) -> str:
    try:
        return Git(cwd).read_text("show", "--no-patch", "--format=%cI", "--end-of-options", sha, timeout=_PATIENCE)
    except GitFailed:
        return ""


def _read_date(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


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
        fix = "check out a branch or a tag, or omit it to use the run's ref"
        raise InputError("no branch, tag or pull request points at the checked-out commit", source=source, fix=fix)
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
        raise InputError(str(error), source=source, fix="run actions/checkout before this step") from error
