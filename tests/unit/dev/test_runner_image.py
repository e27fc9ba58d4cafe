"""The runner image: one constant names it everywhere, a release adds its digest, and its size has a limit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import ci_buildx
from bundle.runner import name_runner
from ci_buildx import RUNNER_IMAGE
from ci_buildx.builder.rbac import roles
from ci_buildx.model.reference import parse_reference
from dev import runner_image

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "gitlab-template"
DIGEST = f"sha256:{'0123456789abcdef' * 4}"
OTHER = f"sha256:{'f' * 64}"
NAME = RUNNER_IMAGE.partition("@")[0].rpartition(":")[0]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())


def test_the_constant_is_a_reference_to_this_version() -> None:
    reference = RUNNER_IMAGE.partition("@")[0]
    assert reference == f"{NAME}:v{ci_buildx.__version__}"


@pytest.mark.parametrize("template", [*FOLDER.glob("*.yml"), *(ROOT / "templates").glob("*.yml")], ids=str)
def test_templates_and_components_have_it_as_the_default_of_their_input(template: Path) -> None:
    spec, jobs = yaml.safe_load_all(template.read_text())
    assert spec["spec"]["inputs"]["image"]["default"] == RUNNER_IMAGE
    assert {job["image"] for job in jobs.values()} == {"$[[ inputs.image ]]"}


def test_the_reapers_schedule_names_it_once() -> None:
    (schedule,) = yaml.safe_load_all(roles.render_reaper_cronjob())
    (container,) = schedule["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == RUNNER_IMAGE
    assert roles.render_reaper_cronjob().count(NAME) == 1


def test_no_page_names_another_tag_of_it() -> None:
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.yaml")]
    named = {path.name for path in files if NAME in path.read_text()}
    assert {"gitlab.md", "elsewhere.md", "reaper-cronjob.yaml"} & named
    for path in files:
        assert name_runner(path.read_text()) == path.read_text(), f"{path}: run `make bundle`"


@pytest.mark.parametrize(
    "text", [f"{NAME}:v9.8.7", f"{NAME}:v0.0.1@{OTHER}", f"{NAME}@{OTHER}", f"image: {NAME}:v1,", f"`{NAME}:1.2`"]
)
def test_any_reference_becomes_the_current_one(text: str) -> None:
    named = name_runner(text)
    assert RUNNER_IMAGE in named
    assert len(named) - len(RUNNER_IMAGE) == len(text) - len(re.findall(rf"{NAME}[^\s`,]+", text)[0])


@pytest.mark.parametrize("text", [NAME, f"{NAME}-debug:v1", f"mirror.example/{NAME.partition('/')[2]}:v1"])
def test_other_images_stay(text: str) -> None:
    assert name_runner(text) == text


def test_a_release_adds_its_digest_to_the_constant() -> None:
    source = (ROOT / runner_image.CONSTANT).read_text()
    pinned = runner_image.pin_constant(source, DIGEST)
    values: dict[str, Any] = {}
    exec(compile(pinned, "pinned", "exec"), values)
    assert values["RUNNER_IMAGE"] == f"{NAME}:v{ci_buildx.__version__}@{DIGEST}"
    assert values["__version__"] == ci_buildx.__version__
    assert runner_image.pin_constant(pinned, DIGEST) == pinned
    assert OTHER in runner_image.pin_constant(pinned, OTHER)


@pytest.mark.parametrize(("source", "digest"), [('RUNNER_IMAGE = "a/b:1"\n', "latest"), ("NAME = 1\n", DIGEST)])
def test_what_is_no_digest_or_no_constant_is_refused(source: str, digest: str) -> None:
    with pytest.raises(ValueError, match=r"no digest|0 times"):
        runner_image.pin_constant(source, digest)


def test_a_size_is_what_a_pull_transfers() -> None:
    assert runner_image.measure_manifest({"config": {"size": 7}, "layers": [{"size": 100}, {"size": 20}]}) == 127


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"linux/amd64": 60_000_001, "linux/arm64": 1}, "linux/amd64 is larger than 60 MB"),
        ({"linux/amd64": 1}, "the image has no linux/arm64"),
    ],
)
def test_a_platform_that_is_missing_or_too_large_fails(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        runner_image.check_sizes(sizes)


def test_sizes_are_printed() -> None:
    told = runner_image.check_sizes({"linux/arm64": 40_000_000, "linux/amd64": 41_250_000})
    assert told == "linux/amd64 41.2 MB compressed\nlinux/arm64 40.0 MB compressed\n"


def test_the_base_is_pinned_and_nothing_else_comes_from_outside() -> None:
    text = (FOLDER / "Containerfile").read_text()
    bases = dict.fromkeys(re.findall(r"^FROM (?:--platform=\S+ )?(\S+)", text, re.MULTILINE))
    stages = set(re.findall(r" AS (\w+)$", text, re.MULTILINE))
    (outside,) = [base for base in bases if base not in stages and base != "scratch"]
    reference = parse_reference(outside)
    assert (reference.path, reference.digest[:7]) == ("library/debian", "sha256:")
    assert "ADD " not in text
    assert "--require-hashes" in text


def test_a_build_reads_no_more_of_the_checkout_than_it_copies() -> None:
    ignored = (FOLDER / "Containerfile.dockerignore").read_text()
    sent = set(re.findall(r"^!(\S+)$", ignored, re.MULTILINE))
    assert sent == {"ci_buildx", "gitlab-template/assemble", "gitlab-template/fetch-packages", "requirements.lock"}
    text = (FOLDER / "Containerfile").read_text()
    assert all(re.search(rf"(?:COPY |source=){re.escape(name)}\b", text) for name in sent)


def test_the_releases_jobs_take_name_and_digest_from_what_was_built() -> None:
    jobs = WORKFLOW["jobs"]
    assert jobs["image"]["permissions"] == {"contents": "read"}
    assert jobs["build"]["needs"] == "image"
    steps = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    assert any(step.startswith(".ci/image ") for step in steps)
    assert not any(NAME in step for step in steps)
    (signed,) = [step for step in jobs["publish"]["steps"] if "subject-name" in step.get("with", {})]
    assert signed["with"]["subject-digest"] == "${{ steps.image.outputs.digest }}"


GH = """\
#!{python}
# Answers as GitHub's API of git's data does, by a repository of this machine; -f fields as in cli/cli (fields.go).
import json, subprocess, sys

def git(*arguments, given=None, env=None):
    import os
    done = subprocess.run(["git", *arguments], input=given, capture_output=True, text=True, check=True,
                          env={{**os.environ, **(env or {{}})}})
    return done.stdout.strip()

method, path, fields, words = "GET", "", [], iter(sys.argv[2:])
for word in words:
    if word == "--method":
        method = next(words)
    elif word in ("-f", "-F"):
        fields.append(next(words).split("=", 1))
    elif word == "--jq":
        wanted = next(words)
    else:
        path = word.removeprefix("repos/team/app/")
if method == "GET":
    print(git("rev-parse", path.rpartition("/")[2] + "^{{tree}}"))
elif path == "git/trees":
    given = dict(field for field in fields if not field[0].startswith("tree"))
    entries = []
    for key, value in fields:
        if key.startswith("tree"):
            name = key.removeprefix("tree[][").rstrip("]")
            if not entries or name in entries[-1]:
                entries.append({{}})
            entries[-1][name] = value
    index = {{"GIT_INDEX_FILE": "index-of-the-api"}}
    git("read-tree", given["base_tree"], env=index)
    for entry in entries:
        blob = git("hash-object", "-w", "--stdin", given=entry["content"])
        git("update-index", "--add", "--cacheinfo", entry["mode"] + "," + blob + "," + entry["path"], env=index)
    print(git("write-tree", env=index))
elif path == "git/commits":
    given = dict(fields)
    print(git("commit-tree", given["tree"], "-p", given["parents[]"], "-m", given["message"]))
elif method == "PATCH" and git("tag", "--list", path.rpartition("/")[2]) == "":
    sys.exit(1)
else:
    given = dict(fields)
    git("tag", "--force", (given.get("ref") or path).rpartition("/")[2], given["sha"])
"""


def test_the_major_versions_tag_gets_a_commit_with_the_pinned_files(tmp_path: Path) -> None:
    (step,) = [one for one in WORKFLOW["jobs"]["publish"]["steps"] if "tag of the major" in one.get("name", "")]
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    program.write_text(GH.format(python=sys.executable))
    program.chmod(0o755)
    repository = tmp_path / "repository"
    (repository / "docs").mkdir(parents=True)
    (repository / "README.md").write_text("read\n")
    (repository / "docs" / "page.md").write_text("old\n")
    env = {"PATH": f"{program.parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    env |= {f"GIT_{who}_{what}": "ann@mail.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def run(*command: str, **more: str) -> str:
        done = subprocess.run(command, cwd=repository, env=env | more, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("git", "init", "--quiet")
    run("git", "add", "--all")
    run("git", "commit", "--quiet", "--message", "All")
    first = run("git", "rev-parse", "HEAD").strip()
    pinned = {"docs/page.md": 'a "page" = $x\n\n', "new.yml": "a: 1\n"}
    for name, text in pinned.items():
        path = repository / "image" / "pinned" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (repository / "image" / "files").write_text("".join(f"{name}\n" for name in pinned))
    for tag in ("v1.2.3", "v1.2.4"):  # The tag of the major version is made, then moved.
        github = {"GH_REPO": "team/app", "GITHUB_SHA": first, "GITHUB_REF_NAME": tag}
        run("bash", "-e", "-o", "pipefail", "-c", step["run"], **github)
        assert run("git", "show", "v1:README.md") == "read\n"
        assert {name: run("git", "show", f"v1:{name}") for name in pinned} == pinned
        assert (
            run("git", "log", "-1", "--format=%P %s", "v1") == f"{first} Name the digest of the runner image of {tag}\n"
        )
