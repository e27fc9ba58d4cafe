"""Images of several jobs become one: where digests come from, the verb, the GitHub step and the GitLab job."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.ci import digests
from ci_buildx.ci.github import action
from ci_buildx.ci.github.merge import KNOWN
from ci_buildx.cli.main import main
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.registry.content import DOCKER_MANIFEST, OCI_INDEX
from tests.unit.ci.github.runner import read as read_values
from tests.unit.imagetools.memory_registry import AMD64, ARM64, MemoryRegistry, push_attested, served

ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")


@pytest.fixture
def registry() -> Iterator[MemoryRegistry]:
    """A registry."""
    with served() as found:
        yield found


def run(cwd: Path, *argv: str, **variables: str) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    env = {"HOME": str(cwd), "DOCKER_CONFIG": str(cwd / "docker"), "XDG_STATE_HOME": str(cwd), **variables}
    code = main(argv, ProcessContext(env=env, cwd=cwd, stdout=stdout, stderr=stderr))
    return code, stdout.getvalue(), stderr.getvalue()


def read(tmp_path: Path, *texts: str) -> list[str]:
    return digests.read_digests(texts, source="DIGEST", cwd=tmp_path, env={})


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_digests_are_texts_files_and_folders(tmp_path: Path) -> None:
    write(tmp_path / "plain", f"{ONE}\n")
    write(tmp_path / "metadata.json", json.dumps({"containerimage.digest": TWO}))
    write(tmp_path / "all" / "b" / "1" / ("3" * 64), "")
    write(tmp_path / "all" / "a.json", json.dumps({"containerimage.digest": ONE}))
    write(tmp_path / "all" / "README", "nothing to see")
    write(tmp_path / "all" / "other.json", "{}")
    assert read(tmp_path, ONE, "metadata.json", "plain") == [ONE, TWO]
    assert read(tmp_path, "all") == [ONE, f"sha256:{'3' * 64}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sha256:1", "'sha256:1' is neither a digest nor a file"),
        ("empty", "folder 'empty' contains no digests"),
        ("file", "file 'file' contains no digest"),
        ("metadata.json", "file 'metadata.json' contains no digest"),
        ("latin", "not UTF-8"),
    ],
)
def test_what_contains_no_digest_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "file", "x")
    write(tmp_path / "metadata.json", '{"containerimage.digest": "sha256:1"}')
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(InputError, match=message) as refused:
        read(tmp_path, text)
    assert refused.value.source == "DIGEST"


def test_a_folder_without_end_is_refused(tmp_path: Path) -> None:
    for number in range(digests.MOST_FILES + 1):
        write(tmp_path / "many" / str(number), "")
    with pytest.raises(InputError, match=f"more than {digests.MOST_FILES} files"):
        read(tmp_path, "many")


def test_links_of_an_artifact_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "secret", ONE)
    write(tmp_path / "all" / "a", TWO)
    (tmp_path / "all" / "b").symlink_to(tmp_path / "secret")
    assert read(tmp_path, "all") == [TWO]


def test_the_verb_publishes_all_platforms_under_all_names(registry: MemoryRegistry, tmp_path: Path) -> None:
    built = [push_attested(registry, "app", name, tag=name) for name in ("amd64", "arm64")]
    write(tmp_path / "digests" / "amd64.json", json.dumps({"containerimage.digest": built[0]["digest"]}))
    code, stdout, stderr = run(
        tmp_path,
        *("merge", "-t", registry.name("app", "1"), "-t", registry.name("other", "latest"), "--progress=plain"),
        *("--platform", "linux/amd64,linux/arm64", "--annotation", "a=b", "--metadata-file", "out.json"),
        *("digests", built[1]["digest"]),
    )
    assert code == 0, stderr
    assert f"[internal] pushing {registry.name('app')}\n" in stderr
    index = registry.read("app", "1")
    assert registry.read("other", "latest") == index
    assert [one["platform"] for one in index["manifests"]][::2] == [AMD64, ARM64]
    assert len(index["manifests"]) == 4
    assert index["annotations"] == {"a": "b"}
    metadata = json.loads((tmp_path / "out.json").read_text())
    assert metadata["image.name"] == f"{registry.name('app', '1')},{registry.name('other', 'latest')}"
    assert ("app", metadata["containerimage.digest"]) in registry.manifests
    assert stdout.splitlines() == [
        f"image     {registry.name('app', '1')}",
        f"image     {registry.name('other', 'latest')}",
        f"digest    {metadata['containerimage.digest']}",
        "platforms linux/amd64, linux/arm64",
    ]


def test_annotations_make_an_oci_index_of_dockers_manifests(registry: MemoryRegistry, tmp_path: Path) -> None:
    image = registry.push_image("app", "amd64", kind=DOCKER_MANIFEST)
    code, _, stderr = run(
        tmp_path, "merge", "-t", registry.name("app", "1"), "--annotation", "index:a=b", image["digest"]
    )
    assert code == 0, stderr
    assert (registry.read("app", "1")["mediaType"], registry.read("app", "1")["annotations"]) == (OCI_INDEX, {"a": "b"})


def test_digests_of_another_repository_are_copied(registry: MemoryRegistry, tmp_path: Path) -> None:
    image = registry.push_image("staging", "amd64")
    names = ("-t", registry.name("app", "1"), "--from", registry.name("staging"))
    assert run(tmp_path, "merge", *names, image["digest"])[0] == 0
    assert ("app", image["digest"]) in registry.manifests


def test_a_dry_run_publishes_nothing(registry: MemoryRegistry, tmp_path: Path) -> None:
    image = registry.push_image("app", "amd64")
    before = dict(registry.manifests)
    code, stdout, _ = run(tmp_path, "merge", "--dry-run", "-t", registry.name("app", "1"), image["digest"])
    assert (code, json.loads(stdout)["manifests"]) == (0, [{**image, "platform": AMD64}])
    assert registry.manifests == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "DIGEST: missing digests; name a digest, a metadata file of a build, or a folder with such files"),
        (("ONE",), "two images are for linux/amd64: ONE and TWO; remove the digest of the older one"),
        (("--platform", "linux/arm64"), "no image for linux/arm64; check that its job ran and passed its digest on"),
        (("--annotation", "manifest-descriptor:a=b"), "--annotation: annotation target 'manifest-descriptor' is not"),
        (("-t", "app@ONE"), "--tag: 'app@ONE' has a digest; omit it"),
        (("--from", "X"), "--from: invalid name 'X': repository name 'X' must be lower-case"),
    ],
)
def test_refuses_and_publishes_nothing(
    registry: MemoryRegistry, tmp_path: Path, argv: tuple[str, ...], message: str
) -> None:
    one = registry.push_image("app", "amd64")["digest"]
    two = registry.push_image("app", "amd64", created="2026-01-01T00:00:00Z")["digest"]
    before = dict(registry.manifests)
    words = [word.replace("ONE", one) for word in argv]
    given = [] if not argv else [two] if "ONE" in argv else [one]
    order = [*words, *given]
    code, stdout, stderr = run(tmp_path, "merge", "-t", registry.name("app", "1"), *order)
    expected = message.replace("ONE", one).replace("TWO", two)
    assert stderr.startswith(f"kube-builder: error: {expected}"), stderr
    assert (code, stdout) == (2, "")
    assert registry.manifests == before


def test_a_digest_that_was_not_pushed_is_named(registry: MemoryRegistry, tmp_path: Path) -> None:
    code, _, stderr = run(tmp_path, "merge", "-t", registry.name("app", "1"), ONE)
    assert (code, f"reading {registry.name('app')}@{ONE} failed with status 404" in stderr) == (1, True), stderr


def test_no_name(tmp_path: Path) -> None:
    code, _, stderr = run(tmp_path, "merge", ONE)
    assert (code, stderr) == (2, "kube-builder: error: --tag: missing name of the image; write REGISTRY/NAME:TAG\n")


def run_step(tmp_path: Path, given: dict[str, str], **more: str) -> tuple[int, str, dict[str, str]]:
    """Exit code, log and outputs of the GitHub step."""
    files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")}
    for path in files.values():
        path.touch()
    env = {
        **{name: str(path) for name, path in files.items()},
        **{f"INPUT_{name.upper()}": value for name, value in given.items()},
        "HOME": str(tmp_path),
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": "team/app",
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_REF": "refs/tags/v1.2.3",
        "GITHUB_SHA": "1234567890123456789012345678901234567890",
        "GITHUB_EVENT_NAME": "push",
        **more,
    }
    stdout = io.StringIO()
    code = action.main(post=False, kind=action.ActionKind.MERGE, env=env, cwd=tmp_path, stdout=stdout)
    return code, stdout.getvalue(), read_values(str(files["GITHUB_OUTPUT"]))


def test_the_step_names_by_rules_and_annotates(registry: MemoryRegistry, tmp_path: Path) -> None:
    built = [registry.push_image("app", name)["digest"] for name in ("amd64", "arm64")]
    write(tmp_path / "digests" / "digests-amd64" / built[0].partition(":")[2], "")
    code, log, found = run_step(
        tmp_path,
        {
            "digests": f"digests\n{built[1]}",
            "images": registry.name("app"),
            "tag-rules": "type=semver,pattern={{version}}",
            "annotations": "org.opencontainers.image.vendor=Example",
            "platforms": "linux/amd64,linux/arm64",
        },
    )
    assert code == 0, log
    index = registry.read("app", "1.2.3")
    assert registry.read("app", "latest") == index
    assert [one["digest"] for one in index["manifests"]] == built
    assert index["annotations"]["org.opencontainers.image.vendor"] == "Example"
    assert index["annotations"]["org.opencontainers.image.revision"].startswith("1234567890")
    assert found["tags"].splitlines() == [registry.name("app", "1.2.3"), registry.name("app", "latest")]
    assert ("app", found["digest"]) in registry.manifests
    assert json.loads(found["metadata"])["containerimage.digest"] == found["digest"]
    assert f"<code>{found['digest'][:6]}" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert "platforms linux/amd64, linux/arm64\n" in log


def test_the_step_refuses_unknown_inputs_and_annotates_errors(tmp_path: Path) -> None:
    code, log, found = run_step(tmp_path, {"digest": ONE, "tags": "app:1"})
    assert (code, found) == (2, {})
    assert "::error title=kube-builder::unknown input 'digest'; did you mean 'digests'?\n" in log
    code, log, found = run_step(tmp_path, {"digests": "none", "tags": "app:1"})
    assert (code, found) == (2, {})
    assert "::error title=kube-builder::input digests: 'none' is neither a digest nor a file; " in log


def test_the_steps_summary_can_be_switched_off(registry: MemoryRegistry, tmp_path: Path) -> None:
    given = {"digests": registry.push_image("app", "amd64")["digest"], "tags": registry.name("app", "1")}
    assert run_step(tmp_path, given, DOCKER_BUILD_SUMMARY="false")[0] == 0
    assert not (tmp_path / "GITHUB_STEP_SUMMARY").read_text()


def test_each_declared_input_is_read() -> None:
    assert {"digests", "from", "tags", "images", "tag-rules", "annotations", "registry", "python"} <= KNOWN.keys()
    assert not KNOWN.keys() & {"kubeconfig", "context", "push", "driver-opts"}


def run_job(tmp_path: Path, **variables: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the GitLab job."""
    env = {
        "CI_JOB_ID": "7",
        "CI_JOB_NAME": "merge",
        "CI_JOB_NAME_SLUG": "merge",
        "CI_PROJECT_DIR": str(tmp_path),
        "TMPDIR": str(tmp_path),
        **variables,
    }
    return run(tmp_path, "gitlab", "--merge", **env)


def test_the_job_merges_what_earlier_jobs_passed_on(registry: MemoryRegistry, tmp_path: Path) -> None:
    built: dict[str, Any] = {name: registry.push_image("app", name)["digest"] for name in ("arm64", "amd64")}
    for name, digest in built.items():
        write(tmp_path / f"kube-builder.build-{name}.json", json.dumps({"containerimage.digest": digest}))
    write(tmp_path / "kube-builder.json", json.dumps({"containerimage.digest": built["amd64"]}))
    write(tmp_path / "kube-builder.env", "EVIL=1")
    code, stdout, stderr = run_job(
        tmp_path,
        CI_REGISTRY_IMAGE=registry.name("app"),
        CI_COMMIT_TAG="v1",
        KUBE_BUILDER_INPUT_JOB_NAME="merge\n",
        KUBE_BUILDER_INPUT_PLATFORMS='["linux/amd64", "linux/arm64"]\n',
        KUBE_BUILDER_INPUT_DIGESTS="[]\n",
    )
    assert code == 0, stderr
    assert [one["platform"] for one in registry.read("app", "v1")["manifests"]] == [AMD64, ARM64]
    report = dict(line.split("=", 1) for line in (tmp_path / "kube-builder.env").read_text().splitlines())
    assert "EVIL" not in report
    assert report["KUBE_BUILDER_IMAGE"] == f"{registry.name('app', 'v1')}@{report['KUBE_BUILDER_DIGEST']}"
    assert report["MERGE_KUBE_BUILDER_METADATA"] == "kube-builder.merge.json"
    metadata = json.loads((tmp_path / "kube-builder.merge.json").read_text())
    assert metadata["containerimage.digest"] == report["KUBE_BUILDER_DIGEST"]
    assert f"image     {registry.name('app', 'v1')}\n" in stdout


def test_the_job_takes_the_named_files(registry: MemoryRegistry, tmp_path: Path) -> None:
    for name in ("amd64", "arm64"):
        digest = registry.push_image("app", name)["digest"]
        write(tmp_path / f"kube-builder.{name}.json", json.dumps({"containerimage.digest": digest}))
    code, _, stderr = run_job(
        tmp_path,
        KUBE_BUILDER_INPUT_JOB_NAME="merge\n",
        KUBE_BUILDER_INPUT_TAGS=f'["{registry.name("app", "1")}"]\n',
        KUBE_BUILDER_INPUT_DIGESTS='["kube-builder.arm64.json"]\n',
    )
    assert code == 0, stderr
    assert [one["platform"] for one in registry.read("app", "1")["manifests"]] == [ARM64]


def test_the_job_without_artifacts(tmp_path: Path) -> None:
    code, _, stderr = run_job(tmp_path, KUBE_BUILDER_TAGS="app:1")
    expected = (
        "input digests: no artifact kube-builder.*.json of an earlier job; merge in a later stage than the builds"
    )
    assert (code, stderr) == (2, f"kube-builder: error: {expected}, or set the input digests\n")


def test_the_job_removes_its_credentials_afterwards(tmp_path: Path) -> None:
    variables = {"CI_JOB_ID": "7", "CI_JOB_TOKEN": "t", "TMPDIR": str(tmp_path)}
    assert run(tmp_path, "gitlab", "--merge", "--post", **variables) == (0, "", "")
