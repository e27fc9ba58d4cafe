"""What is read without argparse is what it would read; where it would say something, it is asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.cli import arguments, build
from ci_buildx.errors import InputError
from ci_buildx.settings import options
from ci_buildx.settings.option import OptionSurface

OPTIONS = options.list_options(OptionSurface.CLI)
FLAGS = [flag for option in OPTIONS for flag in option.flags]
VALUES = st.sampled_from(["", "a", "a=b", "true", "-", "-x", "--push", "/a b", "é", "%", "-1"])
WORDS = st.one_of(
    st.sampled_from(FLAGS),
    st.builds(lambda flag, value: f"{flag}={value}", st.sampled_from(FLAGS), VALUES),
    st.builds(lambda flag, value: f"{flag}{value}", st.sampled_from([one for one in FLAGS if len(one) == 2]), VALUES),
    VALUES,
    st.sampled_from([".", "--", "--quiet", "--hlep"]),
)


@given(argv=st.lists(WORDS, max_size=6))
def test_it_is_what_the_parser_reads(argv: list[str]) -> None:
    read = arguments.read(argv, OPTIONS)
    # argparse loses a value that is "--".
    if read is None or "--" in argv:
        return
    assert read == build.make_parser().parse(argv)


@given(argv=st.lists(WORDS, max_size=6))
def test_only_what_is_refused_or_ends_the_options_is_left_to_the_parser(argv: list[str]) -> None:
    if arguments.read(argv, OPTIONS) is not None or "--" in argv:
        return
    with pytest.raises(InputError):
        build.make_parser().parse(argv)


@pytest.mark.parametrize(
    "argv", [["--help"], ["-h", "."], ["--hlep", "."], ["--tag"], [".", "."], ["--", "."], ["-c", "."]]
)
def test_left_to_the_parser(argv: list[str]) -> None:
    assert arguments.read(argv, OPTIONS) is None


def test_read() -> None:
    argv = ["-t", "a", "--push", "--tag=b", "--no-cache=false", "--platform", "--push", "-fx", "."]
    assert arguments.read(argv, OPTIONS) == {
        "tags": ["a", "b"],
        "push": "true",
        "no-cache": "false",
        "platforms": ["--push"],
        "file": "x",
        "context": ".",
    }
