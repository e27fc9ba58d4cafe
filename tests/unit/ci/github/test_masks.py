"""Which masks the runner is given: too short ones would take outputs with them."""

import io

from ci_buildx.ci.github.commands import mask_values


def masks(*secrets: str) -> list[str]:
    stream = io.StringIO()
    mask_values(secrets, stream)
    return [line.removeprefix("::add-mask::") for line in stream.getvalue().splitlines()]


def test_a_secret_of_one_line_is_masked_whole() -> None:
    assert masks("hunter2\n", "100%") == ["hunter2", "100%25"]


def test_of_several_lines_only_the_long_ones_are_masked() -> None:
    assert masks('{\n1\n  "token": "abcdefgh"\n}\n') == ['  "token": "abcdefgh"']
