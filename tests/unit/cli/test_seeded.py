"""Seeded secrets through every option of the table: no error and no ``--print`` shows them, in any spelling."""

from __future__ import annotations

import base64
import io
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from ci_buildx.build import run
from ci_buildx.ci import inputs as offered
from ci_buildx.ci.github import action
from ci_buildx.ci.gitlab import inputs as of_gitlab
from ci_buildx.cli.main import main
from ci_buildx.cli.process import ProcessContext
from ci_buildx.model import masker
from ci_buildx.settings import options
from ci_buildx.settings.option import Option, OptionSurface
from ci_buildx.settings.values import PreviewKind
from tests.unit.ci.fake_job import FakeJob

ROUNDS = int(os.environ.get("KUBE_BUILDER_TEST_SEEDS", "1"))
"""Secrets for each option and form; `make soak` takes more."""
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789"
FORMS = (
    "https://ann:{}@host.example/x.git",
    "https://host.example/x?token={}&b=1",
    "https://host.example/x?a=1&X-Amz-Signature={}",
    "https://host.example/x.tar?sig={}#{}",
    "NPM_TOKEN={}",
    "build=1,NPM_TOKEN={}",
    "npmToken={}",
    "MYSQL_PWD={}",
    "ann:{}@host.example/x.git",
    "//ann:{}@host.example/x",
    "dckr_pat_{0}{0}",
    "id=x,env={}",
    "id=x,src={}",
    "https_proxy=http://ann:{}@proxy.example:3128",
    "https_proxy=ann:{}@proxy.example:3128",
    "type=s3,region=r,bucket=b,access_key_id=AKIDAKID,secret_access_key={}",
    "type=azblob,account_url=https://a.example,secret_access_key={},mode=wrong",
    'type=gha,"token={}",url=https://c.example/,nonsense=1',
    "type=wrong,session_token={}",
    "ghp_{0}{0}",
    "glpat-{0}",
    "-----BEGIN PRIVATE KEY-----\n{0}{0}\n-----END PRIVATE KEY-----",
    "apiVersion: v1\nkind: Config\nusers: [{{name: a, user: {{token: {0}}}}}]",
    "{}",  # also the value of the variable DEPLOY_TOKEN
)


def seed(chance: random.Random) -> str:
    return "".join(chance.choices(LETTERS, k=24))


def seeds() -> Iterator[tuple[str, str]]:
    chance = random.Random(19)
    for _ in range(ROUNDS):
        for form in FORMS:
            secret = seed(chance)
            yield secret, form.format(secret, secret)


def assert_not_shown(secret: str, text: str) -> None:
    """No twelve characters of it stand in the text, nor of its base64, wherever lines break."""
    joined = "".join(text.split())
    packed = [base64.b64encode(b"x" * before + secret.encode()).decode()[4:28] for before in range(3)]
    for form in (secret, quote(secret), *packed):
        for begin in range(len(form) - 12):
            assert form[begin : begin + 12] not in joined, text


@pytest.fixture(autouse=True)
def no_build(monkeypatch: pytest.MonkeyPatch) -> FakeJob:
    """Replaces the build by one that succeeds without a cluster."""
    fake = FakeJob(log="")
    monkeypatch.setattr(run, "run_build", fake.run)
    return fake


def world(cwd: Path, secret: str, **more: str) -> ProcessContext:
    env = {"HOME": str(cwd / "nobody"), "DEPLOY_TOKEN": secret, **more}
    return ProcessContext(env=env, cwd=cwd, stdout=io.StringIO(), stderr=io.StringIO())


def said(around: ProcessContext) -> str:
    return around.stdout.getvalue() + around.stderr.getvalue()  # type: ignore[attr-defined, no-any-return]


def arguments(option: Option, text: str) -> list[str]:
    return [f"{option.flag}={text}", "."] if option.flags else [text]


@pytest.mark.parametrize("option", options.list_options(OptionSurface.CLI), ids=lambda option: str(option.name))
def test_no_option_of_the_command_line_shows_a_secret(option: Option, cwd: Path) -> None:
    for secret, text in seeds():
        around = world(cwd, secret)
        main(["build", "--print", "solve", "--platform", "linux/amd64", *arguments(option, text)], around)
        assert_not_shown(secret, said(around))


@pytest.mark.parametrize("option", options.list_options(OptionSurface.CLI), ids=lambda option: str(option.name))
def test_no_variable_shows_a_secret(option: Option, cwd: Path) -> None:
    for secret, text in seeds():
        around = world(cwd, secret, **{option.variable: text})
        main(["build", "--print", "plan", "--platform", "linux/amd64", "."], around)
        assert_not_shown(secret, said(around))


@pytest.mark.parametrize("kind", list(PreviewKind))
def test_no_preview_shows_what_is_taken(kind: PreviewKind, cwd: Path) -> None:
    secrets = [seed(random.Random(number)) for number in range(8)]
    argv = [
        *("--build-arg", f"NPM_TOKEN={secrets[0]}", "--build-arg", f"http_proxy=ann:{secrets[1]}@proxy.example:3128"),
        *("--label", f"from=https://ann:{secrets[2]}@host.example/x"),
        *("--cache-to", f"type=s3,region=r,bucket=b,access_key_id=AKIDAKID,secret_access_key={secrets[3]}"),
        *(
            "--cache-from",
            f"type=azblob,account_url=https://a.example/?sig={secrets[4]},secret_access_key={secrets[5]}",
        ),
        *("--build-context", f"lib=https://host.example/x.tar?access_token={secrets[6]}"),
        *("--driver-opt", f"env.NPM_TOKEN={secrets[7]}", "--platform", "linux/amd64"),
    ]
    around = world(cwd, "unused-unused")
    code = main(["build", "--print", kind, *argv, "."], around)
    assert code in (0, 2), said(around)
    for secret in secrets:
        assert_not_shown(secret, said(around))


@pytest.mark.parametrize("option", offered.list_inputs(OptionSurface.GITHUB), ids=lambda option: str(option.name))
def test_no_input_of_the_action_shows_a_secret(option: Option, cwd: Path) -> None:
    for secret, text in seeds():
        stdout = io.StringIO()
        summary = cwd / "summary"
        summary.write_text("")
        env = {"HOME": str(cwd / "nobody"), "DEPLOY_TOKEN": secret, "GITHUB_STEP_SUMMARY": str(summary)}
        env |= {"INPUT_CONTEXT": ".", f"INPUT_{option.name.upper()}": text}
        action.main(post=False, env=env, cwd=cwd, stdout=stdout)
        shown = [line for line in stdout.getvalue().splitlines() if not line.startswith("::add-mask::")]
        assert_not_shown(secret, "\n".join(shown) + summary.read_text())


@pytest.mark.parametrize("option", offered.list_inputs(OptionSurface.GITLAB), ids=lambda option: str(option.name))
def test_no_input_of_gitlab_shows_a_secret(option: Option, cwd: Path) -> None:
    for secret, text in seeds():
        given = json.dumps([text]) if option.repeatable else text
        job = {"CI_JOB_ID": "1", "CI_PROJECT_PATH": "a/b", "CI_PROJECT_DIR": str(cwd), "CI_JOB_NAME": "kube-builder"}
        job |= {
            of_gitlab.name_variable(of_gitlab.JOB_NAME): "kube-builder",
            of_gitlab.name_variable(option.name): given,
        }
        around = world(cwd, secret, **job)
        main(["ci"], around)
        assert_not_shown(secret, said(around))


@pytest.mark.parametrize(
    "secret", ['it\'s "quoted"; <b>&', "tab\tand ünïcode", "a%2Fb+c d=e", "line one is long\nline two is long"]
)
def test_every_spelling_of_a_secret_is_hidden(secret: str) -> None:
    hidden = masker.list_spellings([secret])
    for spelled in (
        repr(secret),
        json.dumps(secret),
        quote(secret),
        base64.b64encode(b"ann:" + secret.encode()).decode(),
    ):
        left = masker.mask_secrets(f"said {spelled} here", hidden)
        assert "***" in left
        assert len(left) < len("said  here") + 16
