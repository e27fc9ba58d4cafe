"""A matrix of platforms whose digests a second job merges: one job where nothing depends on two."""

from __future__ import annotations

import pytest
import yaml

from ci_buildx.ci.github.migrate import migrate_workflow
from ci_buildx.ci.migration.report import MigrationVerdict

PATTERN = """\
name: image
on: push
env:
  IMAGE: r.example/a
jobs:
  build:
    strategy:
      fail-fast: false
      matrix:
        include:
          - platform: linux/arm64
            runner: own-arm
          - platform: linux/amd64
            runner: own-amd
    runs-on: ${{ matrix.runner }}
    steps:
      - name: Pair
        run: |
          platform=${{ matrix.platform }}
          echo "PLATFORM_PAIR=${platform//\\//-}" >> $GITHUB_ENV
      - uses: docker/metadata-action@v6
        id: labels
        with:
          images: ${{ env.IMAGE }}
      - uses: docker/login-action@v4
        with:
          username: me
          password: ${{ secrets.P }}
      - uses: docker/setup-buildx-action@v4
      - id: build
        uses: docker/build-push-action@v7
        with:
          context: .
          platforms: ${{ matrix.platform }}
          labels: ${{ steps.labels.outputs.labels }}
          tags: ${{ env.IMAGE }}
          outputs: type=image,push-by-digest=true,name-canonical=true,push=true
      - name: Export
        run: |
          mkdir -p /tmp/digests
          digest="${{ steps.build.outputs.digest }}"
          touch "/tmp/digests/${digest#sha256:}"
      - uses: actions/upload-artifact@v4
        with:
          name: digests-${{ env.PLATFORM_PAIR }}
          path: /tmp/digests/*

  # merges
  merge:
    runs-on: ubuntu-latest
    needs: build
    steps:
      - uses: actions/download-artifact@v4
        with:
          path: /tmp/digests
          pattern: digests-*
      - uses: docker/login-action@v4
        with:
          username: me
          password: ${{ secrets.P }}
      - uses: docker/setup-buildx-action@v4
      - uses: docker/metadata-action@v6
        with:
          images: ${{ env.IMAGE }}
          tags: type=sha
      - working-directory: /tmp/digests
        run: |
          docker buildx imagetools create \\
            $(jq -cr '.tags | map("-t " + .) | join(" ")' <<< "$DOCKER_METADATA_OUTPUT_JSON") \\
            $(printf '${{ env.IMAGE }}@sha256:%s ' *)
      - run: docker buildx imagetools inspect ${{ env.IMAGE }}:latest

  deploy:
    needs: [merge]
    runs-on: ubuntu-latest
    steps:
      - run: echo
"""


def test_the_pattern_becomes_one_job() -> None:
    migrated = migrate_workflow(PATTERN, source="w.yml")
    jobs = yaml.safe_load(migrated.text)["jobs"]
    assert list(jobs) == ["build", "deploy"]
    assert jobs["deploy"]["needs"] == ["build"]
    assert jobs["build"] == {
        "runs-on": "own-amd",
        "steps": [
            {
                "id": "build",
                "uses": "org/kube-builder@v1",
                "with": {
                    "kubeconfig": "${{ secrets.KUBECONFIG }}",
                    "images": "${{ env.IMAGE }}",
                    "tag-rules": "type=sha",
                    "context": ".",
                    "platforms": "linux/arm64,linux/amd64",
                    "push": True,
                    "username": "me",
                    "password": "${{ secrets.P }}",
                },
            }
        ],
    }
    assert any("job merge, which merged the digests, is removed" in note.text for note in migrated.notes)
    numbers = {note.line for note in migrated.notes if note.verdict is MigrationVerdict.CARRIED}
    assert PATTERN.splitlines()[max(numbers) - 1].strip().startswith("- ")
    assert "merges" not in migrated.text
    assert "${{ steps." not in migrated.text


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            "          context: .\n",
            "          context: .\n          cache-to: type=gha,scope=${{ matrix.platform }}\n",
            "depends on the matrix",
        ),
        (
            "          context: .\n",
            "          context: .\n          cache-to: type=gha,scope=${{ env.PLATFORM_PAIR }}\n",
            "depends on the matrix",
        ),
        ("push=true", "push=${{ github.ref == 'x' }}", "the push has a condition"),
        ("push=true", "push=true,compression=zstd", "not the documented ones"),
        ("        include:\n", "        app: [a, b]\n        include:\n", "other dimensions"),
        ("    needs: build\n", "    needs: build\n    outputs:\n      x: y\n", "job merge has outputs"),
        ("    needs: build\n", "    needs: build\n    if: github.ref == 'x'\n", "the condition of job merge differs"),
        ("    needs: build\n", "    needs: [build, other]\n", "needs other jobs"),
        (
            "      - run: docker buildx imagetools inspect",
            "      - run: cosign sign x\n      - run: docker buildx imagetools inspect",
            "does more than merge",
        ),
        ("-cr '.tags", "-cr '.labels", "does more than merge"),
        ("      - run: echo\n", "      - run: echo ${{ needs.merge.result }}\n", "use job merge's results"),
        ("needs: [merge]", "needs: [merge, build]", "needs both jobs"),
        (
            "digests-*\n      - uses: docker/login-action@v4\n        with:\n",
            "digests-*\n      - uses: docker/login-action@v4\n        with:\n          registry: other\n",
            "logins that job build lacks",
        ),
        ("printf '${{ env.IMAGE }}@", "printf 'other@", "not that of metadata-action"),
        ("    runs-on: ${{ matrix.runner }}", "    runs-on: ${{ matrix.runner || 'x' }}", "expression of the matrix"),
        ("labels: ${{ steps.labels.outputs.labels }}", "labels: a=b", "labels of its own"),
        (
            "    steps:\n      - name: Pair",
            "    outputs:\n      x: y\n    steps:\n      - name: Pair",
            "job build has outputs",
        ),
    ],
)
def test_what_differs_from_the_pattern_keeps_both_jobs(old: str, new: str, reason: str) -> None:
    text = PATTERN.replace(old, new, 1)
    assert text != PATTERN
    migrated = migrate_workflow(text, source="w.yml")
    jobs = yaml.safe_load(migrated.text)["jobs"]
    assert list(jobs) == ["build", "merge", "deploy"]
    (build,) = [step for step in jobs["build"]["steps"] if "kube-builder" in step.get("uses", "")]
    assert "push-by-digest=true" in build["with"]["outputs"]
    assert "images" not in build["with"]
    (note,) = [note for note in migrated.notes if "stay a matrix" in note.text]
    assert reason in note.text
