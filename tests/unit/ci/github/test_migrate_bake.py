"""Workflows with docker/bake-action: what its steps become."""

from __future__ import annotations

import pytest

from ci_buildx.ci.migration.report import MigrationVerdict
from tests.unit.ci.github.workflows import (
    BUILD,
    BUILDX,
    LOGIN,
    META,
    QEMU,
    list_notes,
    list_uses,
    migrate,
    read_steps,
)

KUBECONFIG = "${{ secrets.KUBECONFIG }}"
BAKE = """\
      - uses: docker/bake-action@v7
        with:
          source: .
          targets: app
          push: true
"""


def test_the_steps_around_a_bake_become_its_inputs() -> None:
    migrated = migrate(LOGIN, QEMU, f"{BUILDX}        with:\n          driver-opts: image=x:1\n", BAKE)
    (step,) = read_steps(migrated)
    assert step["uses"] == "org/kube-builder/bake@v1"
    assert step["with"] == {
        "kubeconfig": KUBECONFIG,
        "source": ".",
        "targets": "app",
        "push": True,
        "driver-opts": "image=x:1",
        "username": "me",
        "password": "${{ secrets.P }}",
    }
    assert not migrated.needs_hand
    assert "only files of the checkout" in list_notes(migrated, MigrationVerdict.CHANGED)


@pytest.mark.parametrize(
    ("version", "given", "source", "said"),
    [
        ("@v5", "", ".", "source: . is added"),
        ("@0123456789abcdef0123456789abcdef01234567  # v5.13.0", "", ".", "source: . is added"),
        ("@0123456789abcdef0123456789abcdef01234567 # v6", "", None, "which the cluster fetches"),
        ("@v6.3", "", None, "which the cluster fetches"),
        ("@v7", "          source: sub\n", "sub", "only files of the checkout"),
        ("@v5", "          workdir: sub\n", None, "only files of the checkout"),
    ],
)
def test_the_definition_comes_from_where_it_came(version: str, given: str, source: str | None, said: str) -> None:
    bake = f"      - uses: docker/bake-action{version}\n        with:\n{given}          push: true\n"
    migrated = migrate(BUILDX, bake)
    (step,) = read_steps(migrated)
    assert step["with"].get("source") == source
    assert said in list_notes(migrated, MigrationVerdict.CHANGED)
    assert not migrated.needs_hand


def test_an_unknown_version_is_for_the_user_to_judge() -> None:
    migrated = migrate(BUILDX, f"      - uses: docker/bake-action@{'a' * 40}\n")
    assert list_uses(migrated) == ["org/kube-builder/bake"]
    assert "before bake-action 6, add source: ." in list_notes(migrated, MigrationVerdict.BY_HAND)


@pytest.mark.parametrize(
    ("bake", "reason"),
    [
        (BAKE.replace("targets", "taargets"), "input taargets is unknown"),
        (f"{BAKE}          workdir: sub\n", "it has both source and workdir"),
        (BAKE.replace("source: .", "workdir: sub"), "its definition may come from git"),
        (f"{BAKE}          set: app.tags=localhost:5000/app\n", "localhost:5000 is on the runner"),
        (BAKE.replace("with:", "with: &x"), "YAML anchors"),
        (BAKE.replace("targets: app", "targets: [a]"), "an input is not a text"),
    ],
)
def test_a_bake_that_cannot_be_replaced_stays(bake: str, reason: str) -> None:
    migrated = migrate(BUILDX, bake)
    assert list_uses(migrated) == ["docker/setup-buildx-action", "docker/bake-action"]
    assert reason in list_notes(migrated, MigrationVerdict.BY_HAND)


def test_a_bake_reads_files_of_the_metadata_step_that_stays() -> None:
    bake = BAKE.replace("source: .", "source: .\n          files: |\n            ${{ steps.meta.outputs.bake-file }}")
    migrated = migrate(META, BUILDX, bake)
    assert list_uses(migrated) == ["docker/metadata-action", "org/kube-builder/bake"]
    assert "${{ steps.meta.outputs.bake-file }}" in migrated.text


def test_beside_a_build_each_has_its_own_builder() -> None:
    """The platforms of a bake are in its definition, which a common builder would need before."""
    migrated = migrate(BUILDX, BUILD, BAKE)
    build, bake = read_steps(migrated)
    assert (build["uses"], bake["uses"]) == ("org/kube-builder@v1", "org/kube-builder/bake@v1")
    assert build["with"]["kubeconfig"] == bake["with"]["kubeconfig"] == KUBECONFIG
    assert "each of 2 builds has its own builder" in list_notes(migrated, MigrationVerdict.CHANGED)


def test_the_docker_driver_loads_what_has_no_output() -> None:
    migrated = migrate(BAKE.replace("          push: true\n", ""))
    assert "add load: true" in list_notes(migrated, MigrationVerdict.BY_HAND)


@pytest.mark.parametrize(("name", "inputs"), [("matrix", "          fields: platforms\n"), ("list-targets", "")])
def test_steps_that_list_targets_need_no_builder(name: str, inputs: str) -> None:
    step = f"      - uses: docker/bake-action/subaction/{name}@v6\n        with:\n          target: app\n{inputs}"
    migrated = migrate(step)
    (found,) = read_steps(migrated)
    assert found["uses"] == f"org/kube-builder/bake/subaction/{name}@v1"
    assert "kubeconfig" not in migrated.text
    assert not migrated.needs_hand
    unknown = migrate(f"{step}          x: y\n")
    assert list_uses(unknown) == [f"docker/bake-action/subaction/{name}"]
    assert "stays" in list_notes(unknown, MigrationVerdict.LEFT)
