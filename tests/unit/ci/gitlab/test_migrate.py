"""GitLab jobs with kaniko, docker-in-docker and buildx, and the component's includes that replace them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ci_buildx.ci.gitlab.migrate import migrate_pipeline
from ci_buildx.ci.migration.report import MigratedFile, MigrationVerdict
from ci_buildx.cli.migrate import _is_of_gitlab
from ci_buildx.errors import InputError

AUTH = (
    r'echo "{\"auths\":{\"$CI_REGISTRY\":{\"username\":\"$CI_REGISTRY_USER\",\"password\":\"$CI_REGISTRY_PASSWORD\"}}}"'
    " > /kaniko/.docker/config.json"
)
LOGIN = 'echo "$CI_REGISTRY_PASSWORD" | docker login $CI_REGISTRY -u $CI_REGISTRY_USER --password-stdin'
KANIKO = '    image: {name: "kaniko:debug", entrypoint: [""]}\n'
DIND = "    image: docker:28\n    services: [docker:28-dind]\n"


def make_job(*commands: str, head: str = "", rest: str = "") -> str:
    """A job ``build`` with a script of these commands."""
    lines = "".join(
        f"    - {yaml.safe_dump(command, width=10000).splitlines()[0]}\n"
        if "\n" not in command
        else f"    - |\n      {command.replace(chr(10), chr(10) + '      ')}\n"
        for command in commands
    )
    return f"build:\n  stage: image\n{head.replace('    ', '  ')}  script:\n{lines}{rest}"


def read_include(migrated: MigratedFile) -> dict[str, Any]:
    """The inputs of the only include."""
    (include,) = yaml.safe_load(migrated.text)["include"]
    assert include["component"] == "$CI_SERVER_FQDN/org/kube-builder/kube-builder@v1"
    inputs = dict(include["inputs"])
    assert (inputs.pop("job-name"), inputs.pop("stage")) == ("build", "image")
    return inputs


@pytest.mark.parametrize(
    ("commands", "inputs"),
    [
        (
            [
                "mkdir -p /kaniko/.docker",
                AUTH,
                "/kaniko/executor --context $CI_PROJECT_DIR --destination $CI_REGISTRY_IMAGE:$CI_COMMIT_TAG",
            ],
            {"tags": ["$CI_REGISTRY_IMAGE:$CI_COMMIT_TAG"], "push": True},
        ),
        (
            [
                "/kaniko/executor --context=${CI_PROJECT_DIR}/api -f $CI_PROJECT_DIR/api/D \\\n-d r/a:1 -d r/a:2",
                "mkdir -p /kaniko/.docker",
            ],
            {
                "context": "api",
                "file": "api/D",
                "tags": ["r/a:1", "r/a:2"],
                "push": True,
            },
        ),
        (["/kaniko/executor --no-push --context ."], {}),
        (
            ["/kaniko/executor --context . -d r:5000/a:1 --cache=true --cache-repo r/c"],
            {
                "tags": ["r:5000/a:1"],
                "push": True,
                "cache-from": ["type=registry,ref=r/c:buildkit"],
                "cache-to": ["type=registry,ref=r/c:buildkit,mode=max"],
            },
        ),
        (
            [
                LOGIN,
                "docker build --pull -t $CI_REGISTRY_IMAGE:1 . && docker push $CI_REGISTRY_IMAGE:1",
                "docker logout $CI_REGISTRY",
            ],
            {"tags": ["$CI_REGISTRY_IMAGE:1"], "pull": True, "push": True},
        ),
        (
            [
                "docker pull r/a || true",
                "docker build --cache-from r/a -f x/Dockerfile -t r/a x",
                "docker tag r/a r/a:2",
                "docker push r/a:latest",
                "docker push r/a:2",
            ],
            {
                "cache-from": ["r/a"],
                "file": "x/Dockerfile",
                "context": "x",
                "tags": ["r/a:latest", "r/a:2"],
                "push": True,
            },
        ),
        (
            [
                "docker buildx create --use",
                "docker buildx build --platform linux/amd64,linux/arm64 --push -t r/a:1 --provenance=false .",
            ],
            {
                "platforms": ["linux/amd64,linux/arm64"],
                "push": True,
                "tags": ["r/a:1"],
                "provenance": "false",
            },
        ),
        (
            ["docker build -t local --build-arg A=1 --build-arg 'B=x y' --target t --secret id=a,env=B ."],
            {"tags": ["local"], "build-args": ["A=1", "B=x y"], "target": "t", "secrets": ["id=a,env=B"]},
        ),
    ],
)
def test_builds(commands: list[str], inputs: dict[str, Any]) -> None:
    migrated = migrate_pipeline(make_job(*commands), source="g")
    assert read_include(migrated) == inputs
    assert "build" not in yaml.safe_load(migrated.text)


def test_other_keys_of_the_job_stay() -> None:
    rest = (
        "  rules:\n    - if: $CI_COMMIT_TAG  # only tags\n  variables: {A: b}\n\ndeploy:\n  script: [kubectl apply]\n"
    )
    migrated = migrate_pipeline("# head\n" + make_job("docker build -t a .", head=DIND, rest=rest), source="g")
    document = yaml.safe_load(migrated.text)
    assert document["build"] == {"stage": "image", "rules": [{"if": "$CI_COMMIT_TAG"}], "variables": {"A": "b"}}
    assert document["deploy"] == {"script": ["kubectl apply"]}
    assert migrated.text.startswith("# head\ninclude:\n")
    assert "# only tags" in migrated.text


@pytest.mark.parametrize(
    ("command", "login"),
    [
        ('docker login -u "$HUB_USER" -p "$HUB_TOKEN"', {}),
        (
            'echo "$HUB_TOKEN" | docker login r.example -u "$HUB_USER" --password-stdin',
            {"KUBE_BUILDER_REGISTRY": "r.example"},
        ),
    ],
)
@pytest.mark.parametrize("rest", ["", "  variables:\n    A: b\n"])
def test_a_login_to_another_registry(command: str, login: dict[str, str], rest: str) -> None:
    migrated = migrate_pipeline(make_job(command, "docker build -t a .", "docker push a", rest=rest), source="g")
    credentials = {"KUBE_BUILDER_USERNAME": "$HUB_USER", "KUBE_BUILDER_PASSWORD": "$HUB_TOKEN"}
    found = yaml.safe_load(migrated.text)["build"]["variables"]
    assert found == {**({"A": "b"} if rest else {}), **login, **credentials}


def test_what_all_jobs_inherit_is_switched_off() -> None:
    text = "services: [docker:dind]\nbefore_script:\n  - docker info\n" + make_job("docker build -t a .")
    document = yaml.safe_load(migrate_pipeline(text, source="g").text)
    assert document["build"] == {"stage": "image", "services": [], "before_script": []}


def test_includes_are_added_to_those_that_are_there() -> None:
    text = "include:\n  - local: a.yml\n\n" + make_job("docker build -t a .")
    includes = yaml.safe_load(migrate_pipeline(text, source="g").text)["include"]
    assert [next(iter(include)) for include in includes] == ["local", "component"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (make_job("docker build -t a .", "docker run a"), "other commands: docker"),
        (make_job("docker build -t a .", "make test"), "other commands: make"),
        (make_job("docker build -t $(git describe) ."), "needs a shell"),
        (make_job("docker build -t ${A:-b} ."), "needs a shell"),
        (make_job("docker build -t a . | tee log"), "pipes or redirections"),
        (make_job("docker build -t a .", "docker build -t b ."), "2 builds"),
        (make_job("docker push a"), "builds nothing"),
        (make_job("make push-image TAG=1"), "other commands: make"),
        (make_job("docker build -t a .", "docker push b"), "pushes b"),
        (make_job("docker build --isolation x -t a ."), "--isolation has no input"),
        (make_job("/kaniko/executor --context . -d a --insecure-registry x"), "--insecure-registry has no input"),
        (make_job('docker login -u "$HUB_USER" -p "literal"', "docker build -t a ."), "another registry"),
        (
            make_job(
                AUTH.replace("$CI_REGISTRY\\", "https://index.docker.io/v1/\\"), "/kaniko/executor --context . -d a"
            ),
            "another registry",
        ),
        (make_job("docker build -t a .", rest="  extends: .docker\n"), "it has extends"),
        (make_job("docker build -t a .", rest="  artifacts: {paths: [x]}\n"), "it has artifacts"),
        (make_job("docker build -t a .", rest="  after_script: [./report]\n"), "after_script does more"),
        ("include: a.yml\n" + make_job("docker build -t a ."), "not a list in block style"),
        ("before_script: [./prepare]\n" + make_job("docker build -t a ."), "other commands: ./prepare"),
        (make_job("docker build -t 'a ."), "unbalanced quotes"),
        (".docker: &d\n  image: docker\nbuild:\n  <<: *d\n  script: [docker build .]\n", "YAML anchors"),
        (".docker:\n  script: [docker build .]\n", "template for other jobs"),
        ("build: {script: [docker build .]}\n", "flow style"),
        (make_job("docker login -u $U -p $P", "docker build .", rest="  variables: {A: b}\n"), "flow style"),
    ],
)
def test_a_job_that_does_more_stays(text: str, reason: str) -> None:
    migrated = migrate_pipeline(text, source="g")
    assert migrated.text == text
    assert [note.verdict for note in migrated.notes] == [MigrationVerdict.BY_HAND]
    assert reason in migrated.notes[0].text


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "g: has no jobs"), ("a: [", "g: is not valid YAML")],
)
def test_other_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        migrate_pipeline(text, source="g")
    assert str(caught.value).startswith(message)


def test_a_pipeline_is_known_by_its_name_or_its_jobs() -> None:
    assert _is_of_gitlab("", "ci/.gitlab-ci.yml")
    assert _is_of_gitlab("a:\n  script: [x]\n", "-")
    assert not _is_of_gitlab("on: push\njobs:\n  a:\n    script: x\n", "w.yml")
