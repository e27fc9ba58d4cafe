"""``bake --print`` and ``--list`` answer what docker buildx 0.38.2 answered to the same definitions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.bake import corpus

CASES = corpus.read_cases()
EXPECTED = corpus.read_expected()


def test_every_case_has_an_answer_of_buildx() -> None:
    assert set(CASES) == set(EXPECTED)
    assert len(CASES) >= 250
    assert set(corpus.DEVIATIONS) <= set(CASES)


def test_the_corpus_is_as_large_as_promised() -> None:
    """Printed definitions, those of them that are modelled on projects' own, and errors that name a place."""
    printed = [name for name, answer in EXPECTED.items() if answer.stdout.startswith("{")]
    assert len(set(printed) - corpus.DEVIATIONS.keys()) >= 225
    assert sum(name.startswith("project-") for name in printed) >= 30
    assert sum(bool(answer.place) for name, answer in EXPECTED.items() if name not in corpus.DEVIATIONS) >= 100


@pytest.mark.parametrize("name", CASES)
def test_a_definition_means_what_it_means_to_buildx(name: str, tmp_path: Path) -> None:
    differences = list(corpus.compare(corpus.ask_us(CASES[name], tmp_path), EXPECTED[name]))
    if name in corpus.DEVIATIONS:
        assert differences, f"{name} does not differ any longer"
    else:
        assert not differences, "\n".join(differences)
