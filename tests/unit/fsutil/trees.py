"""Random trees and patterns, made to meet each other: few names, many of them strange."""

import os
import random
import socket
from dataclasses import dataclass
from pathlib import Path

NAMES = (
    b"a", b"b", b"ab", b"a.b", b"a-c", b"foo", b"bar", b"Dockerfile", b".git", b"a b", b"a*", b"[a]", b"a\\b", b"!a", b"#a",
    b"a\nb", b"a\n", "ä".encode(), "日本".encode(), b"\xff", b"a\xe9b", b"x\xe2\x82", b"{a}", b"a+", b"1", b"_", b"^",
)  # fmt: skip
TARGETS = (b".", b"..", b"/", b"/a", b"../a", b"a/b", b"nowhere", b"./a//b/", b"../../..", b"/foo/bar", b"a*", b"\xff")
SEGMENTS = (
    "a", "b", "ab", "foo", "bar", "*", "*", "**", "**", "?", "??", "a*", "*b", "a?b", "[ab]", "[^a]", "[a-c]*", "a.b",
    r"\*", r"\[a\]", r"a\\b", "a**", "**b", "", ".", "..", "ä", "[ä-ö]", "日?", "*.*", ".*", "{a}", "a+", "[!a]", "***",
    "[[:alpha:]]", "[a*]", "[a?b]", r"\d", r"[\w]*", "^", "a^b", "]", r"\_", " a", "a ", "#a", "[.]*", "(a|b)", r"[\]a]",
)  # fmt: skip
BROKEN = ("[", "[]", "a[-x]", r"\k", "[z-a]", r"\8", "[[:foo:]]", "!", r"a\pLb", r"\Qa*", "[a", r"\ä", r"a\pk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """What a build asks for."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()


def plant(root: Path, choice: random.Random, *, size: int = 40) -> None:
    """Make a tree of about ``size`` entries below ``root``, with links, special files, odd modes and times."""
    folders = [os.fsencode(root)]
    files: list[bytes] = []
    for _ in range(size):
        path = os.path.join(choice.choice(folders), choice.choice(NAMES))
        if os.path.lexists(path):
            continue
        kind = choice.choices(("folder", "file", "symlink", "hardlink", "special"), (8, 9, 4, 2, 1))[0]
        if kind == "folder":
            os.mkdir(path)
            folders.append(path)
        elif kind == "symlink":
            os.symlink(choice.choice(TARGETS + NAMES), path)
        elif kind == "hardlink" and files:
            os.link(choice.choice(files), path, follow_symlinks=False)
        elif kind == "special":
            _special(path, choice)
        else:
            Path(os.fsdecode(path)).write_bytes(choice.randbytes(choice.choice((0, 1, 10, 5000))))
            files.append(path)
    for path in [*files, *reversed(folders)]:
        _dress(path, choice)


def _special(path: bytes, choice: random.Random) -> None:
    if choice.random() < 0.4:
        os.mkfifo(path)
    elif choice.random() < 0.6 and len(path) < 100:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
    else:
        os.mknod(path, choice.choice((0o020600, 0o060640)), os.makedev(choice.randrange(300), choice.randrange(70000)))


def _dress(path: bytes, choice: random.Random) -> None:
    if choice.random() < 0.2:
        os.chmod(path, choice.choice((0o700, 0o755, 0o4755, 0o2750, 0o1777, 0o444, 0o7777)))
    if choice.random() < 0.1:
        os.setxattr(path, "user.colour", choice.randbytes(choice.choice((0, 3, 200))))
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
