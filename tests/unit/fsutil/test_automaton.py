"""Patterns with many stars: the same as by expressions, and no combination of them takes long."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ci_buildx.fsutil import filepath, patterns, regexp
from ci_buildx.fsutil.automaton import PatternAutomaton
from ci_buildx.fsutil.entry import PatternError
from ci_buildx.fsutil.patterns import PatternMatcher

PIECES = ("*", "**", "**/", "/", "a", "b", "?", "[ab]", "[^a]", r"\*", ".")
PARTS = st.lists(st.sampled_from(PIECES), max_size=9).map("".join)
PATHS = st.text("ab/*\n.", max_size=9)


@given(pattern=PARTS, path=PATHS)
def test_it_finds_what_the_expression_finds(pattern: str, path: str) -> None:
    kind, expression = patterns.make_expression(pattern)
    if kind is patterns.MatchKind.EXPRESSION:
        found = regexp.parse_elements(expression)
        assert found is not None
        assert PatternAutomaton(found).matches(path) == (
            re.match(regexp.translate_expression(expression), path) is not None
        )


@pytest.mark.parametrize("pattern", [r"\bfoo*", r"\Qa*\E", r"a\z"])
def test_what_is_more_than_characters_is_left_to_expressions(pattern: str) -> None:
    _, expression = patterns.make_expression(pattern)
    assert regexp.parse_elements(expression) is None


LONG = "a" * 250


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a*a*a*a*a*a*a*a*b", LONG),
        ("a*" * 60 + "b", LONG),
        ("**/a/" * 20 + "b", "a/" * 1000 + "a"),
        ("**/*a*/" * 10 + "b", "/".join([LONG] * 15)),
        ("*" * 5000 + "b", LONG),
        ("?" * 200 + "*" * 200 + "[a-z]" * 200 + "*a*a*b", LONG),
    ],
)
def test_no_pattern_takes_long(pattern: str, path: str) -> None:
    """The limit is that of every test: by trying all combinations each of these would take years."""
    assert PatternMatcher([pattern]).matches(path) is False
    assert PatternMatcher([pattern, f"!{pattern}", pattern]).matches(path + "/b/a/b") in (True, False)


def test_no_glob_takes_long() -> None:
    assert filepath.compile_pattern("*a" * 60 + "*b").match(LONG) is None
    assert filepath.compile_pattern("*a" * 60 + "*").match(LONG)


@given(pattern=PARTS, path=PATHS)
def test_globs_without_retries_match_the_same(pattern: str, path: str) -> None:
    # Go, too, takes the first place for a class (1.26, path/filepath/match.go), and finds no way on where a later one
    # would have been a slash, which stars do not pass.
    assume("[^" not in pattern or "/" not in path)
    try:
        found = filepath.compile_pattern(pattern).match(path)
    except PatternError:
        return
    naive = "".join(filepath._translate_pattern(pattern)) + r"\Z"
    assert (found is None) == (re.compile(naive, re.DOTALL).match(path) is None)


@given(lines=st.lists(st.text(max_size=12), max_size=5), path=PATHS)
def test_any_ignore_file_is_read_or_refused(lines: list[str], path: str) -> None:
    try:
        PatternMatcher(lines).matches(path)
    except PatternError as error:
        assert str(error)
