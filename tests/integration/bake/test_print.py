"""``bake --print`` beside docker buildx: the stored answers are its own, and random definitions mean the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from devcluster import programs
from tests.integration.bake.generator import DefinitionWriter
from tests.unit.bake import corpus

SEEDS = 60


@pytest.fixture(scope="session")
def buildx() -> str:
    """The program, built from its source like those of the devcluster."""
    return str(programs.path("buildx"))


def test_the_stored_answers_are_those_of_the_program(buildx: str, tmp_path: Path) -> None:
    stored = corpus.read_expected()
    for number, (name, case) in enumerate(corpus.read_cases().items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        answer = corpus.ask_buildx(buildx, case, folder)
        assert corpus.normalize(answer.stdout) == corpus.normalize(stored[name].stdout), name
        assert bool(answer.error) == bool(stored[name].error), name


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_definition_means_the_same(seed: int, buildx: str, tmp_path: Path) -> None:
    text = DefinitionWriter(seed).write()
    case = corpus.Case(str(seed), ("default", "many"), {}, {"docker-bake.hcl": text})
    ours, theirs = (tmp_path / name for name in ("ours", "theirs"))
    ours.mkdir()
    theirs.mkdir()
    answer = corpus.ask_buildx(buildx, case, theirs)
    assert not answer.error, f"seed {seed}: the generator wrote an invalid definition: {answer.error}"
    assert not list(corpus.compare(corpus.ask_us(case, ours), answer)), f"seed {seed}"
