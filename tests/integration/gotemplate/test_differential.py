"""Go's text/template is asked what a template makes of a value: recorded templates and random ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.gotemplate import differential
from tests.unit.gotemplate.samples import VECTORS


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, compiled."""
    return differential.build(tmp_path_factory.mktemp("gotemplate"))


def test_the_recorded_answers_are_gos(program: Path) -> None:
    answers = differential.ask(program, list(VECTORS))
    assert {template: answer.get("text") for template, answer in zip(VECTORS, answers, strict=True)} == VECTORS


def test_random_templates(program: Path) -> None:
    templates = differential.make_templates(range(3000))
    assert len(set(templates)) > 2500
    assert list(differential.list_differences(templates, program)) == []
    refused = sum("error" in answer for answer in differential.ask(program, templates))
    assert len(templates) * 0.2 < len(templates) - refused
