"""Tags, labels and annotations by docker/metadata-action's rules, and its outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ci_buildx.ci.github import events
from ci_buildx.ci.github.events import Event
from ci_buildx.ci.inputs import MetadataContext
from ci_buildx.ci.metadata import metadata
from ci_buildx.ci.metadata.facts import Repository
from ci_buildx.ci.metadata.metadata import Metadata, Wanted
from ci_buildx.fsutil import scratch
from ci_buildx.fsutil.git import Git, GitFailed
from ci_buildx.model.record import replace
from ci_buildx.settings.booleans import read_boolean
from ci_buildx.settings.given import Given

LEVELS, SET_ENV = "DOCKER_METADATA_ANNOTATIONS_LEVELS", "DOCKER_METADATA_SET_OUTPUT_ENV"
_ASKS = ("images", "tag-rules", "flavor")
_TEXTS = ("labels", "annotations", "tag-rules", "flavor")
_PATIENCE = 10.0


def decide(given: Given, event: Event, *, now: datetime | None = None) -> Metadata | None:
    """What the inputs and the event give; None where no name of an image and no rule is given. Raises InputError."""
    if not any(given.text(name) for name in _ASKS):
        return None
    now = now or datetime.now(UTC)
    sha = event.sha
    if by_git := given.choice("metadata-context", MetadataContext) is MetadataContext.GIT:
        from ci_buildx.ci.github import checkout

        ref, sha = checkout.read(given.cwd, source=given.source("metadata-context"))
    dated = any("commit_date" in given.text(name) for name in _TEXTS)
    facts = events.facts(
        event,
        repository=_repository(given, event),
        now=now,
        commit_date=_commit_date(given, event, sha) or now if dated else now,
    )
    if by_git:
        facts = replace(facts, ref=ref, sha=sha)
    wanted = Wanted(
        images=given.texts("images"),
        rules=given.texts("tag-rules"),
        flavor=given.texts("flavor"),
        labels=given.texts("labels", comments=True),
        annotations=given.texts("annotations", comments=True),
        levels=event.env.get(LEVELS, "manifest").split(","),
        source=given.source("tag-rules"),
    )
    return metadata.make(wanted, facts)


def with_metadata(given: Given, made: Metadata | None) -> Given:
    """The inputs with the tags and marks that were made, after those of the user's own."""
    if made is None:
        return given
    tags = [*given.texts("tags"), *(tag for tag in made.tags if made.images)]
    return given.having(
        tags=list(dict.fromkeys(tags)),
        labels=[f"{key}={value}" for key, value in made.labels],
        annotations=list(made.annotations) if given.text("annotations") else [],
    )


def outputs(made: Metadata, given: Given) -> dict[str, str]:
    """The outputs, named as metadata-action names them. The bake files are written into the runner's own folder."""

    def separated(values: tuple[str, ...], name: str) -> str:
        separator = given.values.get(name)
        return (separator if isinstance(separator, str) and separator else "\n").join(values)

    labels = tuple(f"{key}={value}" for key, value in made.labels)
    texts = {
        "version": made.version,
        "tags": separated(made.tags, "sep-tags"),
        "tag-names": separated(made.tag_names, "sep-tags"),
        "labels": separated(labels, "sep-labels"),
        "annotations": separated(made.annotations, "sep-annotations"),
        "json": json.dumps(made.json()),
    }
    return texts | _bake_files(made, given)


def variables(texts: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """``DOCKER_METADATA_OUTPUT_…`` for later steps; none where the environment forbids them."""
    if read_boolean(env.get(SET_ENV, "")) is False:
        return {}
    return {f"DOCKER_METADATA_OUTPUT_{name.replace('-', '_').upper()}": text for name, text in texts.items()}


def _bake_files(made: Metadata, given: Given) -> dict[str, str]:
    parent = given.env.get("RUNNER_TEMP")
    if not parent:
        return {}
    folder = scratch.name_shared(scratch.BAKE, parent)
    folder.mkdir(mode=0o700)
    files = {}
    for name, document in made.bake_files(given.text("bake-target") or metadata.BAKE_TARGET).items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        files[name] = str(path)
    return files


def _repository(given: Given, event: Event) -> Repository:
    """What the event says; GitHub's API knows what an event leaves out, where there is a token to ask it with."""
    if event.look("repository", "html_url") or not given.text("github-token"):
        return events.repository_of(event)
    from ci_buildx.ci.github import api

    found = api.repository(event, given.text("github-token"))
    return events.repository_of(Event(env=event.env, payload={**event.payload, "repository": found}))


def _commit_date(given: Given, event: Event, sha: str) -> datetime | None:
    """By the event, by the checkout, by GitHub's API."""
    commits = event.look("commits")
    known = [*(commits if isinstance(commits, list) else []), event.look("head_commit")]
    for commit in known:
        if isinstance(commit, dict) and commit.get("id") == sha and isinstance(commit.get("timestamp"), str):
            return _read_date(commit["timestamp"])
    if text := _asked_git(sha, given.cwd):
        return _read_date(text)
    token = given.text("github-token")
    if not token:
        return None
    from ci_buildx.ci.github import api

    return _read_date(api.commit_date(event, token))


def _asked_git(sha: str, cwd: Path) -> str:
    try:
        return Git(cwd).read_text("show", "--no-patch", "--format=%cI", "--end-of-options", sha, timeout=_PATIENCE)
    except GitFailed:
        return ""


def _read_date(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None
