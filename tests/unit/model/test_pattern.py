import re

import pytest

from ci_buildx.model.lazy import compile_lazily


def test_it_is_a_compiled_pattern_from_its_first_use_on() -> None:
    late = compile_lazily(r"(?P<word>[a-z]+)", re.IGNORECASE)
    found = late.fullmatch("Abc")
    assert found is not None
    assert found["word"] == "Abc"
    assert late.sub("x", "ab 12 c") == "x 12 x"
    assert [each.group() for each in late.finditer("a b")] == ["a", "b"]
    assert (late.pattern, late.groups) == (r"(?P<word>[a-z]+)", 1)


def test_an_error_shows_at_the_first_use() -> None:
    broken = compile_lazily("(")
    with pytest.raises(re.error):
        broken.match("")
