"""The Makefile names what exists."""

from __future__ import annotations

import re
from pathlib import Path

MAKEFILE = (Path(__file__).parents[3] / "Makefile").read_text()


def test_each_phony_target_has_a_rule() -> None:
    (line,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    rules = set(re.findall(r"^([\w-]+):(?!=)", MAKEFILE, re.MULTILINE))
    assert set(line.split()) - rules == set()
