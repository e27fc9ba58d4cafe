"""Rules of moby/patternmatcher v0.6.1, ``ignorefile``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.fsutil import filepath
from ci_buildx.fsutil import patterns as fsutil_patterns


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
    assert fsutil_patterns.read_ignore_file(text) == patterns


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    assert all(fsutil_patterns.read_ignore_file(text))


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("", "."), ("/", "/"), ("//", "/"), ("a/", "a"), ("a//b", "a/b"), ("./a/.", "a"), ("..", ".."), ("a/..", "."),
        ("../..", "../.."), ("/..", "/"), ("/../a", "/a"), ("a/../../b", "../b"), ("!/a", "!/a"), ("...", "..."),
    ],
)  # fmt: skip
def test_clean_is_gos(path: str, cleaned: str) -> None:
    assert filepath.clean_path(path) == cleaned
    assert filepath.clean_path(cleaned) == cleaned
