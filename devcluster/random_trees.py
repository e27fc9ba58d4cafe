"""Random trees and patterns, made to meet each other: few names, many of them strange."""

import os
import random
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NAMES = tuple(
    map(
        os.fsdecode,
        (b"a", b"b", b"ab", b"a.b", b"a-c", b"foo", b"bar", b"Dockerfile", b".git", b"a b", b"a*", b"[a]", b"a\\b",
         b"!a", b"#a", b"a\nb", b"a\n", b"\xc3\xa4", b"\xe6\x97\xa5\xe6\x9c\xac", b"\xff", b"a\xe9b", b"x\xe2\x82",
         b"{a}", b"a+", b"1", b"_", b"^"),
    )
)  # fmt: skip
TARGETS = (".", "..", "/", "/a", "../a", "a/b", "nowhere", "./a//b/", "../../..", "/foo/bar", "a*", "\udcff")
SEGMENTS = (
    "a", "b", "ab", "foo", "bar", "*", "*", "**", "**", "?", "??", "a*", "*b", "a?b", "[ab]", "[^a]", "[a-c]*", "a.b",
    r"\*", r"\[a\]", r"a\\b", "a**", "**b", "", ".", "..", "ä", "[ä-ö]", "日?", "*.*", ".*", "{a}", "a+", "[!a]", "***",
    "[[:alpha:]]", "[a*]", "[a?b]", r"\d",
    r"[\w]*", "^", "a^b", "]", r"\_", " a", "a ", "#a", "[.]*", "(a|b)", r"[\]a]",
)  # fmt: skip
#: What fits into a socket's address, on Linux.
LONGEST_SOCKET = 108
BROKEN = ("[", "[]", "a[-x]", r"\k", "[z-a]", r"\8", "[[:foo:]]", "!", r"a\pLb", r"\Qa*", "[a", r"\ä", r"a\pk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """What a build asks for."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()


def plant(root: Path, choice: random.Random, *, size: int = 40) -> None:
    """Make a tree of about ``size`` entries below ``root``, with links, special files, odd modes and times."""
    folders = [root]
    files: list[Path] = []
    for _ in range(size):
        path = choice.choice(folders) / choice.choice(NAMES)
        if os.path.lexists(path):
            continue
        kind = choice.choices(("folder", "file", "symlink", "hardlink", "special"), (8, 9, 4, 2, 1))[0]
        if kind == "folder":
            path.mkdir()
            folders.append(path)
        elif kind == "symlink":
            path.symlink_to(choice.choice(TARGETS + NAMES))
        elif kind == "hardlink" and files:
            path.hardlink_to(choice.choice(files))
        elif kind == "special":
            _special(path, choice)
        else:
            path.write_bytes(choice.randbytes(choice.choice((0, 1, 10, 5000))))
            files.append(path)
    for path in [*files, *reversed(folders)]:
        _dress(path, choice)


def _special(path: Path, choice: random.Random) -> None:
    form = choice.choice(("fifo", "socket", "device"))
    if form == "socket" and len(os.fsencode(path)) < LONGEST_SOCKET:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fsencode(path))
    elif form == "device" and os.geteuid() == 0:
        os.mknod(path, choice.choice((0o020600, 0o060640)), os.makedev(choice.randrange(300), choice.randrange(70000)))
    else:
        os.mkfifo(path)


def _dress(path: Path, choice: random.Random) -> None:
    if choice.random() < 0.2:
        path.chmod(choice.choice((0o700, 0o755, 0o4755, 0o2750, 0o1777, 0o744, 0o7777)))
    if choice.random() < 0.1:
        value = choice.randbytes(choice.choice((0, 3, 200)))
        with suppress(OSError):  # Not every file system takes them.
            os.setxattr(path, "user.colour", value)
    seconds = choice.choice((0, 1, -1, 1_700_000_000, 4_000_000_000))
    os.utime(path, ns=(0, seconds * 10**9 + choice.choice((0, 1, 999_999_999))))


def ask(choice: random.Random) -> Patterns:
    """Return random patterns; one in twenty lists holds a malformed one."""
    return Patterns(
        include=_patterns(choice, 0.4, "!"),
        exclude=_patterns(choice, 0.6, "!!!!"),
        follow=_patterns(choice, 0.3, ""),
    )


def _patterns(choice: random.Random, chance: float, signs: str) -> tuple[str, ...]:
    if choice.random() > chance:
        return ()
    patterns = [_pattern(choice, signs) for _ in range(choice.randint(1, 5))]
    if choice.random() < 0.05:
        patterns.insert(choice.randrange(len(patterns) + 1), choice.choice(BROKEN))
    return tuple(patterns)


def _pattern(choice: random.Random, signs: str) -> str:
    length = choice.choices((1, 2, 3), (5, 4, 2))[0]
    text = "/".join(choice.choice(SEGMENTS[:24] if choice.random() < 0.7 else SEGMENTS) for _ in range(length))
    text = choice.choice(("", "", "", "/", "./")) + text + choice.choice(("", "", "", "/", "/**"))
    return ("!" if choice.random() < len(signs) / 10 else "") + text
