"""Text of others moves no cursor, sets no title or clipboard, and opens no section."""

import io
import random

import pytest

from ci_buildx.cli.process import run_guarded
from ci_buildx.errors import SolveError
from ci_buildx.progress.step import drop_controls


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\x1b]52;c;aGk=\x07b", "ab"),
        ("a\x1b]0;title\x1b\\b", "ab"),
        ("a\x9d52;c;aGk=\x9cb", "ab"),
        ("a\x1bPq\x1b\\b", "ab"),
        ("\x1b[2J\x1b[Htop", "top"),
        ("\x1b[0Ksection_start:1:x\r\x1b[0Ktitle", "section_start:1:xtitle"),
        ("\x1b[31mred\x1b[0m\tend", "\x1b[31mred\x1b[0m\tend"),
        ("größe ✓\n2", "größe ✓\n2"),
        ("abc\u202egnp", "abcgnp"),
    ],
)
def test_only_colours_are_left(text: str, left: str) -> None:
    assert drop_controls(text) == left


def test_no_control_character_is_left_of_any_text() -> None:
    chance = random.Random(9)
    for _ in range(5000):
        text = "".join(chance.choice("\x1b\x1b[]0;mK52c\x07\x9b\x9d\x9c\\P \r\x08a\x00") for _ in range(20))
        rest = drop_controls(text)
        while (start := rest.find("\x1b")) >= 0:
            end = rest.index("m", start)
            assert set(rest[start + 2 : end]) <= set("0123456789;:")
            assert rest[start + 1] == "["
            rest = rest[:start] + rest[end + 1 :]
        assert not any(ord(one) < 32 or 127 <= ord(one) < 160 for one in rest)


def test_the_last_error_is_inert() -> None:
    stream = io.StringIO()

    def fail() -> int:
        raise SolveError("RUN \x1b]52;c;aGk=\x07make failed")

    run_guarded(fail, stderr=stream, env={})
    assert stream.getvalue() == "ERROR: RUN make failed\n"
