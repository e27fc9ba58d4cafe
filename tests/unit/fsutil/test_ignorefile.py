"""Rules of moby/patternmatcher v0.6.1, ``ignorefile``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.fsutil import ignorefile, paths


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("", []),
        ("a\n\n  \nb", ["a", "b"]),
        ("\ufeffa\n\ufeffb", ["a", "\ufeffb"]),
        ("# no\n #yes\na#b", ["#yes", "a#b"]),
        ("\ufeff# no\na", ["a"]),
        ("/a\n/b/c/\n//d", ["a", "b/c", "d"]),
        ("  a b\t\r\n", ["a b"]),
        ("!/a/b\n! /c\n!  d/", ["!a/b", "!c", "!d"]),
        ("!\n! ", ["!", "!"]),
        ("./a\na/../b\na//c\n.\n/\n../x", ["a", "b", "a/c", ".", "/", "../x"]),
        ("a\u00a0\n\u3000b", ["a", "b"]),
        ("a\x1c", ["a\x1c"]),
        ("a\\ b\n*.[ch]\n**/x", ["a\\ b", "*.[ch]", "**/x"]),
    ],
)
def test_read(text: str, patterns: list[str]) -> None:
    assert ignorefile.read(text) == patterns


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    assert all(ignorefile.read(text))


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("", "."), ("/", "/"), ("//", "/"), ("a/", "a"), ("a//b", "a/b"), ("./a/.", "a"), ("..", ".."), ("a/..", "."),
        ("../..", "../.."), ("/..", "/"), ("/../a", "/a"), ("a/../../b", "../b"), ("!/a", "!/a"), ("...", "..."),
    ],
)  # fmt: skip
def test_clean_is_gos(path: str, cleaned: str) -> None:
    assert paths.clean(path) == cleaned
    assert paths.clean(cleaned) == cleaned
