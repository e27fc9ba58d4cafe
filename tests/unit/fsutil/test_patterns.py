"""The public tables of moby/patternmatcher v0.6.1 (``patternmatcher_test.go``), as data, and our own beside them."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.fsutil import filepath, patterns
from ci_buildx.fsutil.entry import PatternError
from ci_buildx.fsutil.patterns import MatchKind, PatternMatcher

WHEEL = "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl"

# Pattern, paths that match, paths that don't.
SINGLE: list[tuple[str, list[str], list[str]]] = [
    ("**", ["file", "file/", "/", "dir/file", "dir/file/"], []),
    ("**/", ["file", "file/", "/", "dir/file", "dir/file/"], []),
    ("**/**", ["dir/file", "dir/file/"], []),
    ("dir/**", ["dir/file", "dir/file/", "dir/dir2/file", "dir/dir2/file/"], []),
    ("**/dir", ["dir", "dir/file"], []),
    ("**/dir2/*", ["dir/dir2/file", "dir/dir2/file/"], []),
    ("**/dir2/**", ["dir/dir2/dir3/file", "dir/dir2/dir3/file/"], []),
    ("**file", ["file", "dir/file", "dir/dir/file"], []),
    ("**/file", ["dir/file", "dir/dir/file"], []),
    ("**/file*", ["dir/dir/file", "dir/dir/file.txt"], []),
    ("**/file*txt", ["dir/dir/file.txt"], []),
    ("**/file*.txt", ["dir/dir/file.txt"], []),
    ("**/file*.txt*", ["dir/dir/file.txt"], []),
    ("**/**/*.txt", ["dir/dir/file.txt", "file.txt"], []),
    ("**/**/*.txt2", [], ["dir/dir/file.txt"]),
    ("**/*.txt", ["file.txt"], []),
    ("a**/*.txt", ["a/file.txt", "a/dir/file.txt", "a/dir/dir/file.txt"], []),
    ("a/*.txt", ["a/file.txt"], ["a/dir/file.txt"]),
    ("a/*.txt**", ["a/file.txt"], []),
    ("a[b-d]e", ["ace"], ["ae", "aae"]),
    ("a[^b-d]e", ["aze"], []),
    (".*", [".foo"], ["foo"]),
    ("abc.def", ["abc.def"], ["abcdef", "abcZdef"]),
    ("abc?def", ["abcZdef"], ["abcdef"]),
    ("a\\\\", ["a\\"], []),
    ("a\\*b", ["a*b"], ["ab"]),
    ("**/foo/bar", ["foo/bar", "dir/foo/bar", "dir/dir2/foo/bar"], []),
    ("abc/**", ["abc/def", "abc/def/ghi"], ["abc"]),
    ("**/.foo", [".foo"], ["bar.foo"]),
    ("a(b)c/def", ["a(b)c/def"], ["a(b)c/xyz"]),
    ("a.|)$(}+{bc", ["a.|)$(}+{bc"], []),
    (WHEEL, [WHEEL], []),
    ("dist/*.whl", [WHEEL], []),
    # From Go's own table of filepath.Match, as patternmatcher has it: what matches a folder matches below it.
    ("abc", ["abc"], []),
    ("*", ["abc"], []),
    ("*c", ["abc"], []),
    ("a*", ["a", "abc", "ab/c"], []),
    ("a*/b", ["abc/b"], ["a/c/b"]),
    ("a*b*c*d*e*/f", ["axbxcxdxe/f", "axbxcxdxexxx/f"], ["axbxcxdxe/xxx/f", "axbxcxdxexxx/fff"]),
    ("a*b?c*x", ["abxbbxdbxebxczzx"], ["abxbbxdbxebxczzy"]),
    ("ab[c]", ["abc"], []),
    ("ab[b-d]", ["abc"], []),
    ("ab[e-g]", [], ["abc"]),
    ("ab[^c]", [], ["abc"]),
    ("ab[^b-d]", [], ["abc"]),
    ("ab[^e-g]", ["abc"], []),
    ("a?b", ["a☺b"], ["a/b"]),
    ("a[^a]b", ["a☺b"], []),
    ("a???b", [], ["a☺b"]),
    ("a[^a][^a][^a]b", [], ["a☺b"]),
    ("[a-ζ]*", ["\u03b1", "β"], []),
    ("*[a-ζ]", [], ["A"]),
    ("a*b", [], ["a/b"]),
    ("[\\]a]", ["]"], []),
    ("[\\-]", ["-"], []),
    ("[x\\-]", ["x", "-"], ["z"]),
    ("[\\-x]", ["x", "-"], ["a"]),
    ("*x", ["xxx"], []),
    # Ours: oddities that are kept because they decide what the builder sees.
    ("a\\d", ["a1"], ["ad"]),
    ("[[:digit:]]x", ["7x"], ["dx"]),
    ("a^b", ["a^b"], []),
    ("a^*", [], ["a^b"]),
    ("[a*]", ["a]", "[]", "]"], ["a", "*"]),
    ("**a*", ["a", "d/ab"], ["xa"]),
    ("a/./b/../c", ["a/c"], ["a/b"]),
    ("a?", ["a\n", "a\udcff"], ["a"]),
    ("a\ufffd*", ["a\udcff", "a\udcfeb"], ["ab"]),
    ("a\udcff", ["a\udcff"], ["a\udcfe"]),
    ("**/a*", ["x/a"], ["x\ny/b"]),
    ("**/a*b", ["x/ab"], ["x\ny/ab"]),
]  # fmt: skip

SEVERAL: list[tuple[list[str], str, bool]] = [
    (["**", "!util/docker/web"], "util/docker/web/foo", False),
    (["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", True),
    (["**", f"!{WHEEL}"], WHEEL, False),
    (["**", "!dist/*.whl"], WHEEL, False),
    (["!fileutils.go", "*.go"], "fileutils.go", True),
    (["*.go", "!fileutils.go"], "fileutils.go", False),
    (["docs", "!docs/README.md"], "docs/README.md", False),
    (["docs/", "!docs/README.md"], "docs/README.md", False),
    (["docs/*", "!docs/README.md"], "docs/README.md", False),
    (["docs", "  !docs/README.md  "], "docs/README.md", False),
    ([], "any/path", False),
    (["", " "], "any/path", False),
]


def walked(matcher: PatternMatcher, path: str) -> bool:
    """What a walk finds that goes down to ``path``."""
    folder = filepath.read_parent(path)
    state: int | None = None
    if folder != ".":
        parts = folder.split("/")
        for depth in range(len(parts)):
            _, state = matcher.judge("/".join(parts[: depth + 1]), state)
    return matcher.judge(path, state)[0]


@pytest.mark.parametrize(("pattern", "matching", "others"), SINGLE)
def test_single_patterns(pattern: str, matching: Sequence[str], others: Sequence[str]) -> None:
    matcher = PatternMatcher([pattern])
    for path in (*matching, *others):
        expected = path in matching
        assert matcher.matches(path) is expected, path
        assert matcher.judge(path, None)[0] is expected, path
        assert walked(matcher, path) is expected, path


@pytest.mark.parametrize(("several", "path", "expected"), SEVERAL)
def test_several_patterns(several: Sequence[str], path: str, expected: bool) -> None:
    matcher = PatternMatcher(several)
    assert matcher.matches(path) is expected
    assert matcher.judge(path, None)[0] is expected
    assert walked(matcher, path) is expected


@pytest.mark.parametrize(
    ("pattern", "kind", "expression"),
    [
        ("*", MatchKind.EXPRESSION, "^[^/]*$"),
        ("file*", MatchKind.EXPRESSION, "^file[^/]*$"),
        ("*file", MatchKind.EXPRESSION, "^[^/]*file$"),
        ("a*/b", MatchKind.EXPRESSION, "^a[^/]*/b$"),
        ("**", MatchKind.SUFFIX, ""),
        ("**/**", MatchKind.EXPRESSION, "^(.*/)?.*$"),
        ("dir/**", MatchKind.PREFIX, ""),
        ("**/dir", MatchKind.SUFFIX, ""),
        ("**/dir2/*", MatchKind.EXPRESSION, "^(.*/)?dir2/[^/]*$"),
        ("**/dir2/**", MatchKind.EXPRESSION, "^(.*/)?dir2/.*$"),
        ("**file", MatchKind.SUFFIX, ""),
        ("**/file*txt", MatchKind.EXPRESSION, "^(.*/)?file[^/]*txt$"),
        ("**/**/*.txt", MatchKind.EXPRESSION, "^(.*/)?(.*/)?[^/]*\\.txt$"),
        ("a[b-d]e", MatchKind.EXPRESSION, "^a[b-d]e$"),
        (".*", MatchKind.EXPRESSION, "^\\.[^/]*$"),
        ("abc.def", MatchKind.EXACT, ""),
        ("abc?def", MatchKind.EXPRESSION, "^abc[^/]def$"),
        ("**/foo/bar", MatchKind.SUFFIX, ""),
        ("a(b)c/def", MatchKind.EXACT, ""),
        ("a.|)$(}+{bc", MatchKind.EXACT, ""),
        (WHEEL, MatchKind.EXACT, ""),
    ],
)
def test_how_a_pattern_is_tried(pattern: str, kind: MatchKind, expression: str) -> None:
    found, text = patterns.make_expression(pattern)
    assert found is kind
    assert not expression or text == expression


@pytest.mark.parametrize(
    "pattern",
    [
        "[]a]",
        "[-]",
        "[x-]",
        "[-x]",
        "\\",
        "[a-b-c]",
        "[",
        "[^",
        "[^bc",
        "a[",
        "!",
        "! [",
        "!a\\",
        "[\udcff]",
        "[a",
        "[a-]",
    ],
)
def test_malformed_patterns_are_refused_by_name(pattern: str) -> None:
    with pytest.raises(PatternError) as caught:
        PatternMatcher(["fine", pattern])
    assert caught.value.pattern in pattern
    assert repr(caught.value.pattern) in str(caught.value)


@pytest.mark.parametrize("pattern", ["[Local-Only]", "[z-a]", "\\k", "a\\8", "[[:none:]]", "\\ä", "\\pk", "src\\pkg"])
def test_some_are_refused_only_when_they_are_tried(pattern: str) -> None:
    matcher = PatternMatcher(["first", pattern])
    assert matcher.matches("first")
    for _ in range(2):
        with pytest.raises(PatternError, match="malformed pattern"):
            matcher.matches("second")
    assert not PatternMatcher(["first", "!" + pattern]).matches("second")


def test_a_group_that_was_not_tried_counts_as_not_matching_the_folder() -> None:
    several = ["a", "!a/b", "*"]
    assert PatternMatcher(several).matches("a/b")
    assert not walked(PatternMatcher(several), "a/b")


PARTS = st.lists(st.sampled_from(["a", "b", "ab", "*", "**", "?", "[ab]", "a*"]), min_size=1, max_size=3).map("/".join)


@given(
    st.lists(st.tuples(st.booleans(), PARTS).map(lambda p: "!" * p[0] + p[1]), max_size=6),
    st.lists(st.sampled_from("ab"), min_size=1, max_size=4),
)
def test_groups_find_what_single_patterns_find(several: list[str], parts: list[str]) -> None:
    """The semantics of ``MatchesUsingParentResults``, pattern by pattern, as the reference."""
    singles = [(text.startswith("!"), PatternMatcher([text.removeprefix("!")])) for text in several]
    path = ""
    above: list[bool] = []
    for depth in range(len(parts)):
        path = "/".join(parts[: depth + 1])
        matched, found = False, []
        for number, (negated, matcher) in enumerate(singles):
            match = bool(above) and above[number]
            if not match and negated == matched:
                match = matcher.judge(path, 0)[0]
            found.append(match)
            matched = not negated if match else matched
        above = found
        assert walked(PatternMatcher(several), path) is matched
