"""What docker/build-push-action's inputs mean, as the build gets them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.ci.github import action
from ci_buildx.errors import InputError
from ci_buildx.settings.values import BuildSettings
from tests.unit.ci.fake_job import FakeJob

SHA = "0123456789abcdef0123456789abcdef01234567"
RUNNER = {
    "GITHUB_REPOSITORY": "team/app",
    "GITHUB_RUN_ID": "77",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_SERVER_URL": "https://git.example:8443",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_SHA": SHA,
}
REPOSITORY = "https://git.example:8443/team/app.git"
RUN = "https://git.example:8443/team/app/actions/runs/77/attempts/2"


class Surroundings:
    """A runner in a checkout; ``build`` gives what the job was asked for."""

    def __init__(self, tmp_path: Path, cwd: Path, job: FakeJob) -> None:
        self.cwd, self.job = cwd, job
        self.env = RUNNER | {"RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "output")}
        self.event = tmp_path / "event.json"

    def build(self, payload: Any = None, env: Any = None, **given: str) -> BuildSettings:
        """``payload`` is the event's, ``env`` what the runner has besides."""
        if payload is not None:
            self.event.write_text(json.dumps(payload))
            self.env["GITHUB_EVENT_PATH"] = str(self.event)
        inputs = {f"INPUT_{name.upper().replace('_', '-')}": value for name, value in given.items()}
        stdout = io.StringIO()
        code = action.main(post=False, env=self.env | (env or {}) | inputs, cwd=self.cwd, stdout=stdout)
        self.log = stdout.getvalue()
        if code:
            raise InputError(self.log)
        assert self.job.settings is not None
        return self.job.settings.build


@pytest.fixture
def around(tmp_path: Path, cwd: Path, job: FakeJob) -> Surroundings:
    """A runner with a checkout, in which the Action builds."""
    return Surroundings(tmp_path, cwd, job)


def test_the_default_context_is_the_repository_at_the_events_commit(around: Surroundings) -> None:
    assert around.build().context == f"{REPOSITORY}#{SHA}"


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("{{defaultContext}}", f"{REPOSITORY}#{SHA}"),
        ("{{ defaultContext }}:docker", f"{REPOSITORY}#{SHA}:docker"),
        ("https://other.example/x.git#main", "https://other.example/x.git#main"),
    ],
)
def test_the_default_context_by_name(context: str, expected: str, around: Surroundings) -> None:
    assert around.build(context=context).context == expected


def test_a_folder_stays_a_folder(around: Surroundings) -> None:
    assert around.build(context=".").context == around.cwd


def test_the_default_context_as_query(around: Surroundings) -> None:
    build = around.build(env={"BUILDX_SEND_GIT_QUERY_AS_INPUT": "true"})
    assert build.context == f"{REPOSITORY}?ref={SHA}"


@pytest.mark.parametrize(("asked", "expected"), [("", SHA), ("true", "feed")])
def test_a_pull_requests_head_where_that_is_wanted(asked: str, expected: str, around: Surroundings) -> None:
    env = {"GITHUB_REF": "refs/pull/5/merge", "DOCKER_DEFAULT_GIT_CONTEXT_PR_HEAD_REF": asked}
    build = around.build({"pull_request": {"head": {"sha": "feed"}}}, env)
    assert build.context == f"{REPOSITORY}#{expected}"


def test_outside_of_a_runner_it_is_the_working_directory(around: Surroundings) -> None:
    assert around.build(env={"GITHUB_SERVER_URL": ""}).context == around.cwd


def test_named_contexts_know_it_too(around: Surroundings) -> None:
    build = around.build(context=".", build_contexts="base={{defaultContext}}:base")
    assert [(one.name, one.location) for one in build.contexts] == [("base", f"{REPOSITORY}#{SHA}:base")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"GIT_AUTH_TOKEN.git.example:8443": b"ghs_1"}),
        ({"context": "{{defaultContext}}:sub"}, {"GIT_AUTH_TOKEN.git.example:8443": b"ghs_1"}),
        ({"context": "."}, {}),
        ({"context": "https://other.example/x.git"}, {}),
        ({"secrets": "GIT_AUTH_TOKEN=mine"}, {"GIT_AUTH_TOKEN": b"mine"}),
    ],
)
def test_the_token_is_for_the_default_context_only(
    given: dict[str, str], expected: dict[str, bytes], around: Surroundings
) -> None:
    build = around.build(github_token="ghs_1", **given)
    assert {secret.id: secret.value.reveal() for secret in build.secrets} == expected
    assert ("::add-mask::ghs_1" in around.log) == (b"ghs_1" in expected.values())


def test_secrets_in_all_spellings(around: Surroundings) -> None:
    (around.cwd / "key,1").write_text("of a file")
    build = around.build(
        env={"TOKEN": "of a variable"},
        context=".",
        secrets='plain=value\n"multi=first\nsecond"\nid=typed,env=TOKEN',
        secret_envs="a=TOKEN,b=TOKEN",
        secret_files="c=key,1",
    )
    assert {secret.id: secret.value.reveal() for secret in build.secrets} == {
        "plain": b"value",
        "multi": b"first\nsecond",
        "typed": b"of a variable",
        "a": b"of a variable",
        "b": b"of a variable",
        "c": b"of a file",
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("secret_envs", "TOKEN", "input secret-envs: 'TOKEN' must have a name and a value; write NAME=VARIABLE"),
        ("secret_files", "=x", "input secret-files: '=x' must have a name and a value; write NAME=FILE"),
    ],
)
def test_a_secret_that_is_none(name: str, value: str, message: str, around: Surroundings) -> None:
    with pytest.raises(InputError) as caught:
        around.build(**{name: value})
    assert message in str(caught.value)


PRIVATE: dict[str, Any] = {"repository": {"private": True}}
PUBLIC: dict[str, Any] = {"repository": {"private": False}}


@pytest.mark.parametrize(
    ("payload", "given", "expected"),
    [
        (PRIVATE, {}, f"type=provenance,builder-id={RUN},inline-only=true,mode=min"),
        (PUBLIC, {}, f"type=provenance,builder-id={RUN},mode=max"),
        (PUBLIC, {"provenance": "true"}, f"type=provenance,builder-id={RUN}"),
        (PUBLIC, {"provenance": "false"}, ""),
        (PUBLIC, {"provenance": "mode=min"}, f"type=provenance,builder-id={RUN},mode=min"),
        (PUBLIC, {"provenance": "mode=min,builder-id=me"}, "type=provenance,builder-id=me,mode=min"),
        (PUBLIC, {"attests": "type=provenance,mode=min"}, f"type=provenance,builder-id={RUN},mode=min"),
        (PUBLIC, {"outputs": "type=docker,dest=image.tar"}, "mode=min,inline-only=true"),
    ],
)
def test_provenance(payload: dict[str, Any], given: dict[str, str], expected: str, around: Surroundings) -> None:
    assert around.build(payload, context=".", **given).provenance == expected


def test_provenance_where_the_environment_wants_none(around: Surroundings) -> None:
    assert around.build(PUBLIC, {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}, context=".").provenance == ""


def test_metadata_gives_tags_and_labels(around: Surroundings) -> None:
    repository = {"name": "app", "html_url": "https://git.example/team/app", "default_branch": "main"}
    build = around.build(
        {"repository": repository, "head_commit": {"id": SHA, "timestamp": "2024-05-06T07:08:09+02:00"}},
        context=".",
        images="registry.example/Team/App",
        tag_rules="type=ref,event=branch\ntype=raw,value={{commit_date 'YYYYMMDD-HHmm'}}\n# no rule",
        tags="registry.example/team/app:own",
        labels="of={{branch}}",
    )
    name = "registry.example/team/app"
    assert build.tags == (f"{name}:own", f"{name}:main", f"{name}:20240506-0508")
    labels = dict(build.labels)
    assert labels["of"] == "main"
    assert labels["org.opencontainers.image.revision"] == SHA
    assert build.annotations == ()


@pytest.mark.parametrize("separator", [", ", " "])
def test_its_outputs_and_variables(separator: str, around: Surroundings, tmp_path: Path) -> None:
    env = {"GITHUB_ENV": str(tmp_path / "env")}
    around.build(env=env, context=".", images="r.example/a", tag_rules="type=sha\ntype=raw,value=x", sep_tags=separator)
    written = (tmp_path / "output").read_text()
    assert f"r.example/a:x{separator}r.example/a:sha-0123456" in written
    assert "\nsha-0123456" not in written
    variables = (tmp_path / "env").read_text()
    for name in ("VERSION", "TAGS", "TAG_NAMES", "LABELS", "ANNOTATIONS", "JSON", "BAKE_FILE", "BAKE_FILE_TAGS"):
        assert f"DOCKER_METADATA_OUTPUT_{name}<<" in variables
    (path,) = tmp_path.glob("kube-builder-bake-*/bake-file.json")
    assert json.loads(path.read_text())["target"]["docker-metadata-action"]["args"]["DOCKER_META_VERSION"] == "x"


def test_without_names_and_rules_there_is_no_metadata(around: Surroundings, tmp_path: Path) -> None:
    around.build(context=".", labels="a=b")
    assert "version<<" not in (tmp_path / "output").read_text()


def test_buildkitds_configuration_as_text(around: Surroundings) -> None:
    around.build(context=".", buildkitd_config_inline="[worker.oci]\nmax-parallelism = 4\n")
    assert around.job.settings is not None
    assert "max-parallelism" in around.job.settings.builder.buildkitd_config


def test_a_builder_that_was_set_up_earlier_is_used(around: Surroundings) -> None:
    around.build(env={"KUBE_BUILDER_BUILDER": "kube-builder-app-1"}, context=".")
    assert around.job.settings is not None
    assert around.job.settings.builder_name == "kube-builder-app-1"


@pytest.mark.parametrize(
    ("given", "provenance", "sbom"),
    [
        (
            {"provenance": "mode=min", "attests": "type=provenance,mode=max"},
            f"type=provenance,builder-id={RUN},mode=min",
            "",
        ),
        ({"provenance": "false", "attests": "type=provenance,mode=max\ntype=sbom"}, "", "type=sbom"),
        ({"provenance": "false", "sbom": "false", "attests": '"type=sbom"'}, "", ""),
        (
            {"provenance": "false", "sbom": "generator=g", "attests": "type=sbom,generator=h"},
            "",
            "type=sbom,generator=g",
        ),
    ],
)
def test_provenance_and_sbom_have_the_last_word_over_attests(
    given: dict[str, str], provenance: str, sbom: str, around: Surroundings
) -> None:
    build = around.build(context=".", **given)
    assert (build.provenance, build.sbom, build.attestations) == (provenance, sbom, ())


def test_a_secret_without_a_value_is_not_sent(around: Surroundings) -> None:
    build = around.build(context=".", secrets="TOKEN=\nOTHER=1 ", secret_envs="THIRD=")
    assert [(one.id, one.value.reveal_text()) for one in build.secrets] == [("OTHER", "1 ")]
    assert build.empty_secrets == ("TOKEN", "THIRD")


def test_lines_of_labels_that_begin_with_a_hash(around: Surroundings) -> None:
    """metadata-action drops them; build-push-action, whose input it is without images, does not."""
    text = "# whose is it\na=b"
    assert ("# whose is it", "") not in around.build(context=".", labels=text, images="r.example/app").labels
    assert around.build(context=".", labels=text).labels == (("# whose is it", ""), ("a", "b"))
