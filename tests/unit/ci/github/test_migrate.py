"""Workflows with docker's actions, and the step that stands for theirs."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.ci.github.migrate import migrate_workflow
from ci_buildx.cli import migrate as verb
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import InputError

ROOT = Path(__file__).parents[4]
BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
BUILD = {"uses": "docker/build-push-action@v7", "with": {"push": True, "tags": "r.example/a:1"}}


def migrated(*steps: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The new steps of a job with ``steps``, and the comments."""
    text = migrate_workflow(yaml.safe_dump({"jobs": {"image": {"steps": list(steps)}}}), source="w.yml")
    comments = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    return yaml.safe_load(text) or [], comments


def test_the_page_shows_what_is_printed() -> None:
    before, after = BLOCK.findall((ROOT / "docs" / "migrate.md").read_text())
    printed = migrate_workflow(before, source="w.yml")
    assert [line for line in printed.splitlines() if not line.startswith("#")] == after.splitlines()
    assert printed.startswith("# job image: instead of docker/metadata-action, docker/login-action, ")


def test_a_steps_own_keys_stay() -> None:
    (step,), _ = migrated({**BUILD, "name": "Build", "id": "b", "if": "always()", "env": {"A": "b"}})
    assert {key: step[key] for key in ("name", "id", "if", "env")} == {
        "name": "Build",
        "id": "b",
        "if": "always()",
        "env": {"A": "b"},
    }


def test_several_builds_share_a_builder() -> None:
    buildx = {"uses": "docker/setup-buildx-action@v4", "id": "bx", "with": {"driver-opts": "image=x", "version": "1"}}
    of_builder = {**BUILD, "with": {**BUILD["with"], "builder": "${{ steps.bx.outputs.name }}"}}  # type: ignore[dict-item]
    steps, comments = migrated(buildx, of_builder, of_builder)
    assert [step["uses"].partition("@")[0] for step in steps] == ["org/kube-builder/setup", *["org/kube-builder"] * 2]
    assert steps[0]["with"]["driver-opts"] == "image=x"
    assert all("builder" not in step["with"] and "kubeconfig" not in step["with"] for step in steps[1:])
    assert "setup-buildx-action's version was removed: buildx is not installed" in comments
    assert "several steps build" in comments


def test_several_logins_are_a_list() -> None:
    logins = [
        {"uses": "docker/login-action@v4", "with": {"username": "a", "password": "${{ secrets.A }}"}},
        {"uses": "docker/login-action@v4", "with": {"registry": "r.example", "username": "b", "password": "c"}},
    ]
    (step,), _ = migrated(*logins, BUILD)
    assert yaml.safe_load(step["with"]["registries"]) == [
        {"username": "a", "password": "${{ secrets.A }}"},
        {"registry": "r.example", "username": "b", "password": "c"},
    ]


def test_metadata_that_the_build_adds_to() -> None:
    meta = {"uses": "docker/metadata-action@v6", "id": "m", "with": {"images": "r.example/a", "labels": "x=1"}}
    build = {
        "uses": "docker/build-push-action@v7",
        "with": {
            "tags": "${{ steps.m.outputs.tags }}\nr.example/a:extra",
            "labels": "${{ steps.m.outputs.labels }}\ny=2",
        },
    }
    (step,), comments = migrated(meta, build)
    assert step["with"]["images"] == "r.example/a"
    assert step["with"]["tags"] == "r.example/a:extra"
    assert step["with"]["labels"].split() == ["x=1", "y=2"]
    assert "outputs of step m are now those of the build step" in comments


@pytest.mark.parametrize(
    ("step", "comment"),
    [
        ({"uses": "docker/bake-action@v7"}, "docker/bake-action@v7 was not migrated: write one step per target"),
        ({"uses": "docker/metadata-action@v6", "id": "m"}, "metadata-action does not build"),
        (
            {"uses": "docker/login-action@v4", "with": {"registry": "1.dkr.ecr.eu-west-1.amazonaws.com"}},
            "login-action logs docker in",
        ),
    ],
)
def test_what_cannot_be_done_is_said(step: dict[str, Any], comment: str) -> None:
    steps, comments = migrated(step)
    assert steps == []
    assert comment in comments


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jobs: [", "w.yml: is not valid YAML at line 1"),
        ("a: b", "w.yml: has no jobs"),
        ("jobs: {a: {steps: [{run: x}]}}", "w.yml: no step uses one of docker's actions"),
    ],
)
def test_what_is_no_workflow_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        migrate_workflow(text, source="w.yml")
    assert str(caught.value).startswith(message)


@given(st.dictionaries(st.sampled_from(["tags", "labels", "images", "builder", "secrets"]), st.text(max_size=40)))
def test_what_is_printed_is_yaml_with_the_same_values(inputs: dict[str, str]) -> None:
    given_, _ = migrated({"uses": "docker/build-push-action@v7", "with": inputs})
    for name in inputs.keys() & {"tags", "images", "secrets"}:
        assert str(given_[0]["with"][name]).split() == inputs[name].split()


def test_the_verb(tmp_path: Path) -> None:
    (tmp_path / "w.yml").write_text(yaml.safe_dump({"jobs": {"image": {"steps": [BUILD]}}}))
    world = ProcessContext(env={}, cwd=tmp_path, stdout=io.StringIO(), stderr=io.StringIO())
    assert verb.main(["w.yml"], world) == 0
    assert "uses: org/kube-builder@v1" in world.stdout.getvalue()  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"gone\.yml: cannot be read: No such file"):
        verb.main(["gone.yml"], world)
    with pytest.raises(InputError, match="missing workflow"):
        verb.main([], world)
