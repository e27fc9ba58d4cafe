"""Go's grammar of regular expressions (Go 1.26, ``regexp/syntax``), as far as patterns can reach it."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.fsutil import filepath, regexp
from ci_buildx.fsutil.entry import PatternError


@pytest.mark.parametrize(
    ("expression", "matching", "others"),
    [
        ("^a\\.b$", ["a.b"], ["axb", "a.b\n"]),
        ("^[^/]*$", ["", "a\n"], ["a/"]),
        ("^(.*/)?a$", ["a", "x/a", "x/y/a"], ["xa", "x\n/a"]),
        ("^\\d\\D$", ["1a", "1é"], ["11", "٣a"]),
        ("^\\w\\W$", ["_-", "aé"], ["ab", "éa"]),
        ("^\\s\\S$", ["\ta"], ["\va", "  "]),
        ("^[\\d_]$", ["5", "_"], ["a"]),
        ("^[^\\w]$", ["-"], ["a"]),
        ("^[[:alpha:]]$", ["z"], ["é", "1"]),
        ("^[[:^alpha:]]$", ["1"], ["z"]),
        ("^[[:alpha]$", [":", "[", "a"], ["b"]),
        ("^[a-c-]$", ["b", "-"], ["d"]),
        ("^[]a]$", ["]", "a"], ["b"]),
        ("^[a[^/]*b$", ["ab", "[/^b"], ["xb"]),
        ("^\\x41\\101\\07$", ["AA\7"], ["x41"]),
        ("^\\a\\f\\n\\r\\t\\v$", ["\a\f\n\r\t\v"], []),
        ("^\\Qa.*\\Eb$", ["a.*b"], ["axxb"]),
        ("^\\Qa$", ["a$"], ["a"]),
        ("^a\\b[^/]*$", ["a", "a-"], ["ab"]),
        ("^a\\B[^/]*$", ["ab"], ["a-"]),
        ("^\\Aa\\z$", ["a"], ["aa"]),
        ("^\\pLx$", ["éx"], ["1x"]),
        ("^[\\PL]$", ["1"], ["é"]),
        ("^\\_\\-$", ["_-"], []),
        ("^[^\\x00-\\x7f]$", ["é", "\ufffd"], ["a"]),
    ],
)
def test_translation(expression: str, matching: list[str], others: list[str]) -> None:
    compiled = re.compile(regexp.translate_expression(expression))
    assert [text for text in matching + others if compiled.match(text)] == matching


@pytest.mark.parametrize(
    "expression",
    ["^[a", "^[z-a]", "^\\k", "^\\8", "^\\1", "^\\é", "^\\C", "^[[:x:]]", "^\\pX", "^\\p", "^\\x4", "^[\\b]", "\\"],
)
def test_what_go_refuses(expression: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        regexp.translate_expression(expression)


@given(st.text(alphabet="ab[]^-\\:dpQEx1/.*?_é", max_size=12))
def test_any_pattern_compiles_or_is_refused(pattern: str) -> None:
    with suppress(PatternError):
        filepath.compile_pattern(pattern)
    with suppress(ValueError):
        re.compile(regexp.translate_expression("^" + re.sub(r"[.*?]", "", pattern) + "$"))


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("a*", ["a", "ab"], ["ba", "a/b"]),
        ("?", ["a", "é", "\udcff"], ["", "ab"]),
        ("[^a-c]x", ["dx", "\udcffx"], ["ax"]),
        ("[c-a]", [], ["a", "b"]),
        ("[^c-a]", ["b"], []),
        ("\\*", ["*"], ["a"]),
        ("[\\]-a]", ["^", "]"], ["b"]),
        ("a]", ["a]"], []),
        ("\\d", ["d"], ["1"]),
        ("a\n", ["a\n"], ["a"]),
    ],
)
def test_filepath_match(pattern: str, matching: list[str], others: list[str]) -> None:
    compiled = filepath.compile_pattern(pattern)
    assert [text for text in matching + others if compiled.match(text)] == matching


@pytest.mark.parametrize(
    ("name", "expected"), [("a", False), ("a*", True), ("\\*", False), ("\\\\*", True), ("a[", True), ("?", True)]
)
def test_has_wildcards(name: str, expected: bool) -> None:
    assert filepath.has_wildcards(name) is expected
