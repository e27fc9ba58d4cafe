"""Workflows with docker's actions, migrated: what the tests of `migrate` share."""

from __future__ import annotations

from typing import Any

import yaml

from ci_buildx.ci.github.migrate import migrate_workflow
from ci_buildx.ci.migration.report import MigratedFile, MigrationVerdict

META = """\
      - uses: docker/metadata-action@v6
        id: meta
        with:
          images: r.example/a
"""
LOGIN = """\
      - uses: docker/login-action@v4
        with:
          username: me
          password: ${{ secrets.P }}
"""
BUILDX = "      - uses: docker/setup-buildx-action@v4\n"
QEMU = "      - uses: docker/setup-qemu-action@v4\n"
BUILD = """\
      - uses: docker/build-push-action@v7
        with:
          context: .
          push: true
          tags: r.example/a:1
"""
OF_META = """\
      - uses: docker/build-push-action@v7
        with:
          context: .
          push: true
          tags: ${{ steps.meta.outputs.tags }}
          labels: ${{ steps.meta.outputs.labels }}
"""


def migrate(*steps: str, head: str = "", job: str = "") -> MigratedFile:
    """Migrate a workflow of one job with these steps."""
    text = f"on: push\n{head}jobs:\n  image:\n    runs-on: ubuntu-latest\n{job}    steps:\n{''.join(steps)}"
    return migrate_workflow(text, source="w.yml")


def read_steps(migrated: MigratedFile) -> list[dict[str, Any]]:
    """The steps of the new workflow."""
    return list(yaml.safe_load(migrated.text)["jobs"]["image"]["steps"])


def list_uses(migrated: MigratedFile) -> list[str]:
    """The actions of the new workflow, without versions."""
    return [str(step.get("uses", step.get("run"))).partition("@")[0] for step in read_steps(migrated)]


def list_notes(migrated: MigratedFile, verdict: MigrationVerdict) -> str:
    """The notes with a verdict."""
    return "\n".join(note.text for note in migrated.notes if note.verdict is verdict)
