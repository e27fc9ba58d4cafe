"""docker/metadata-action's own examples: the same events and inputs give the same tags, labels and bake files.

``vectors.json`` holds them as data. Labels that follow from the event and the repository are not written out; ``more``
and ``less`` say what a case has besides, or lacks.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.ci.github import events
from ci_buildx.ci.metadata import metadata
from ci_buildx.ci.metadata.facts import CommitFacts, RepositoryFacts
from ci_buildx.ci.metadata.metadata import ImageMetadata, MetadataInputs

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
NOW = datetime.fromisoformat(VECTORS["now"])
OCI = "org.opencontainers.image."


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: str(case["name"]))
def test_the_same_as_metadata_action(case: dict[str, Any]) -> None:
    facts = facts_of(case)
    levels = ("index", "manifest-descriptor") if "bake-file-annotations" in case["expected"] else ("manifest",)
    wanted = MetadataInputs(
        images=case.get("images", ()),
        rules=case.get("rules", ()),
        flavor=case.get("flavor", ()),
        labels=case.get("labels", ()),
        annotations=case.get("annotations", ()),
        levels=levels,
    )
    made = metadata.make_metadata(wanted, facts)
    expected = dict(case["expected"])
    if "tags" in expected:
        assert made.version == expected["version"]
        assert list(made.tags) == expected["tags"]
        assert [f"{key}={value}" for key, value in made.labels] == marks(expected.get("labels", {}), made, facts)
        annotations = expected.get("annotations") or expected.get("labels", {})
        assert list(made.annotations) == [f"manifest:{mark}" for mark in marks(annotations, made, facts)]
    if "json" in expected:
        assert made.to_json() == expected["json"]
    baked = made.make_bake_files(case.get("bake_target", metadata.BAKE_TARGET))
    for name in expected.keys() & baked.keys():
        assert baked[name] == expected[name], name


def facts_of(case: dict[str, Any]) -> CommitFacts:
    found = VECTORS["events"][case["event"]]
    env = {"GITHUB_EVENT_NAME": found["event"], "GITHUB_REF": found["ref"], "GITHUB_SHA": found["sha"]}
    if case.get("head_sha"):
        env["DOCKER_METADATA_PR_HEAD_SHA"] = "true"
    read = events.WorkflowEvent(env=env, payload=found.get("payload", {}))
    return events.make_facts(read, repository=RepositoryFacts(**VECTORS["repository"]), now=NOW, commit_date=NOW)


def marks(changes: dict[str, Any], made: ImageMetadata, facts: CommitFacts) -> list[str]:
    repository = facts.repository
    implied = {
        "created": "2020-01-10T00:30:00.000Z",
        "description": repository.description,
        "licenses": repository.license,
        "revision": facts.sha,
        "source": repository.url,
        "title": repository.title,
        "url": repository.url,
        "version": made.version,
    }
    found = {f"{OCI}{name}={value}" for name, value in implied.items()} - set(changes.get("less", ()))
    return sorted(found | set(changes.get("more", ())), key=lambda mark: mark.partition("=")[0])
