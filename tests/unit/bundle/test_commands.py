"""docs/reference/commands.md agrees with the parsers."""

from pathlib import Path

from bundle import commands

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "commands.md"


def test_the_reference_is_what_the_parsers_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == commands.page(), "run `make bundle`"
