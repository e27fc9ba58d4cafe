"""Every code block of README and docs is run, parsed, or left alone for a reason that is said."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest

from ci_buildx.bake.document import BLOCKS
from ci_buildx.cli import main
from ci_buildx.hcl.bodies import parse_body
from tests import documentation
from tests.documentation import Judgement, Treatment

ROOT = Path(__file__).parents[3]
INSTRUCTIONS = {"ARG", "FROM", "RUN", "COPY", "ADD", "ENV", "WORKDIR", "USER", "CMD", "ENTRYPOINT", "LABEL", "EXPOSE"}


def test_each_block_is_run_parsed_or_left_alone_for_a_reason() -> None:
    """Prints the list (``pytest -s``)."""
    found = list(documentation.list_judgements())
    for snippet, judgement in found:
        treatment, why = judgement or ("?", "nobody knows")
        print(f"{treatment:<10} {snippet} — {why}")
    assert [str(snippet) for snippet, judgement in found if judgement is None] == []
    counts = Counter(judgement.treatment for _, judgement in found if judgement)
    print(dict(counts))
    assert counts[Treatment.RUN] >= 4
    assert counts[Treatment.PARSED] >= 10


def test_what_runs_a_block_exists() -> None:
    """The tests that the list names are there."""
    named = {
        name for _, judgement in documentation.list_judgements() if judgement
        for name in re.findall(r"tests/[\w/.]+(?:::\w+)?", judgement.why)
    }  # fmt: skip
    assert named
    for name in named:
        path, _, function = name.partition("::")
        assert (ROOT / path).exists(), name
        assert not function or f"def {function}" in (ROOT / path).read_text(), name


@pytest.mark.parametrize("snippet", documentation.find_snippets("dockerfile"), ids=str)
def test_dockerfiles_consist_of_instructions(snippet: documentation.Snippet) -> None:
    lines = [line for line in snippet.text.replace("\\\n", " ").splitlines() if line.strip() and line[0] != "#"]
    assert {line.split()[0] for line in lines} <= INSTRUCTIONS


@pytest.mark.parametrize("snippet", documentation.find_snippets("hcl"), ids=str)
def test_definitions_of_bake_are_read(snippet: documentation.Snippet) -> None:
    assert parse_body(snippet.text, "docker-bake.hcl").find_blocks(BLOCKS)


@pytest.mark.parametrize("snippet", documentation.find_snippets("groovy"), ids=str)
def test_the_shell_steps_of_jenkins_are_commands_of_ours(snippet: documentation.Snippet) -> None:
    steps = re.findall(r"\bsh '([^']+)'", snippet.text)
    assert steps
    for step in steps:
        words = shlex.split(step)
        assert words[0] == "kube-builder"
        verb, arguments = main.find_verb(words[1:])
        main.import_verb(verb).make_parser().read(arguments)


@pytest.mark.parametrize(
    ("language", "text", "treatment"),
    [
        ("yaml", "include:\n- component: h/org/kube-builder/kube-builder@v1\n  inputs: {push: true}\n", Treatment.RUN),
        ("yaml", "include:\n- component: h/org/kube-builder/kube-builder@v1\n  inputs: {oidc: x}\n", Treatment.PARSED),
        ("yaml", "- uses: actions/checkout@v4\n- uses: org/kube-builder@v1\n  with: {context: .}\n", Treatment.RUN),
        ("yaml", "- uses: docker/login-action@v3\n- uses: org/kube-builder@v1\n", Treatment.PARSED),
        ("sh", "kube-builder build -t registry.example/a:1 \\\n  --push .\n", Treatment.RUN),
        ("sh", "kube-builder build --builder kube .\n", Treatment.PARSED),
        ("sh", "kubectl apply -f x.yaml\n", Treatment.LEFT),
        ("console", "$ kube-builder build --print plan .   # why\n", Treatment.RUN),
    ],
)
def test_a_block_is_known_by_what_is_in_it(language: str, text: str, treatment: Treatment) -> None:
    judgement = documentation.judge(documentation.Snippet(ROOT / "README.md", 1, language, text))
    assert judgement
    assert judgement.treatment is treatment


@pytest.mark.parametrize(("language", "text"), [("sh", "frobnicate --all\n"), ("cobol", "DISPLAY 1.\n")])
def test_a_block_of_an_unknown_kind_is_noticed(language: str, text: str) -> None:
    judgement: Judgement | None = documentation.judge(documentation.Snippet(ROOT / "README.md", 1, language, text))
    assert judgement is None
