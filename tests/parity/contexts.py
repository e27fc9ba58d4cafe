"""Contexts with every kind of file, ignore files, and the places where a Dockerfile can be."""

import os

from tests.parity.case import LETTERS, Case
from tests.parity.tree import EPOCH, Fifo, File, Folder, Hardlink, Symlink

CAPABLE = bytes.fromhex("0100000200040000000000000000000000000000")
"""cap_net_bind_service, effective and permitted, as ``setcap`` writes it."""
COPY_ALL = "FROM scratch\nCOPY . /\n"
NAMES = (
    "a b", "a\tb", "a\nb", "back\\slash", 'quo"te', "$HOME", "-dash", "#hash", "!bang", "*", "[a]", "~", "a:b", "d/x",
    "d-a", "d.a", "D", "ünï/cödé", "u\u0308", "日本語", "🦊", "\u202e", "é" * 120, "n" * 255,
)  # fmt: skip

CASES = (
    Case(
        name="symlinks",
        dockerfile=COPY_ALL,
        tree={
            "d/target": "t",
            "relative": Symlink("d/target"),
            "up": Symlink("../outside"),
            "absolute": Symlink("/d/target"),
            "dangling": Symlink("no/where"),
            "loop": Symlink("loop"),
            "folder": Symlink("d"),
            "d/back": Symlink("../relative"),
            "d/bytes": Symlink("\udcff\udcfe"),
        },
    ),
    Case(
        name="what is copied by the name of a symlink",
        dockerfile="""\
FROM scratch
COPY link /1
COPY chain/file /2
COPY way/e/*.txt /3/
COPY absolute /4
COPY here/a.txt /5
""",
        tree={
            **LETTERS,
            "real/file": "f",
            "link": Symlink("real/file"),
            "chain": Symlink("other"),
            "other": Symlink("./real"),
            "way": Symlink("d"),
            "absolute": Symlink("/real/file"),
            "here": Symlink("."),
        },
    ),
    Case(
        name="hardlinks",
        dockerfile="FROM scratch\nCOPY . /all/\nCOPY two /two/\nCOPY one/b two/c /parts/\n",
        tree={
            "one/a": "shared",
            "one/b": Hardlink("one/a"),
            "two/c": Hardlink("one/a"),
            "two/d": Hardlink("one/a"),
            "z": Hardlink("one/b"),
        },
    ),
    Case(
        name="hardlinks whose first name is ignored",
        dockerfile=COPY_ALL,
        tree={"a": "shared", "b": Hardlink("a"), "c": Hardlink("a"), ".dockerignore": "a\n"},
    ),
    Case(
        name="folders with nothing in them",
        dockerfile="FROM scratch\nCOPY . /\nCOPY empty /again/\nCOPY nest/ /nest2/\n",
        tree={
            "empty": Folder(),
            "nest/in/nest": Folder(),
            "closed": Folder(mode=0o700),
            "only-ignored/x.log": "",
            ".dockerignore": "**/*.log",
        },
    ),
    Case(
        name="modes",
        dockerfile=COPY_ALL,
        tree={
            **{f"file-{mode:o}": File(mode=mode) for mode in (0, 0o1, 0o400, 0o644, 0o755, 0o1644, 0o2755, 0o4755)},
            **{f"folder-{mode:o}": Folder(mode=mode) for mode in (0o700, 0o1777, 0o2755, 0o4711, 0o7777)},
            "folder-700/file": File(content=b"x", mode=0o6711),
        },
    ),
    Case(
        name="names",
        dockerfile=COPY_ALL,
        tree=dict.fromkeys(NAMES, "x"),
    ),
    Case(
        name="names that are no UTF-8",
        dockerfile=COPY_ALL,
        tree={os.fsdecode(name): "x" for name in (b"\xff", b"d\xe9/f\xfc", b"\xc3", b"ok")},
    ),
    Case(
        name="ignored names that are not ASCII",
        dockerfile="FROM scratch\nCOPY . /1/\nCOPY ä* /2/\n",
        tree={"ä": "1", "äb/c": "2", "ö": "3", "日/本": "4", "a b": "5", ".dockerignore": "ö\n日/*\na b\n"},
    ),
    Case(
        name="an ignore file with negations",
        dockerfile=COPY_ALL,
        tree={
            **LETTERS,
            "keep/yes": "y",
            "keep/no/x": "n",
            "keep/no/but": "b",
            ".dockerignore": "*\n!keep\nkeep/no\n!keep/no/but\n!**/b.txt\nd/e/b.txt\n",
        },
    ),
    Case(
        name="an ignore file of every kind of line",
        dockerfile=COPY_ALL,
        tree={
            **LETTERS,
            **{f"x/{name}": name for name in ("1", "2", "3", "ab", "cb", "#x", "!y", "s p")},
            ".dockerignore": b"\xef\xbb\xbf# comment\r\n\r\n  x/[1-2]  \n/x/?b/\n#x/*\nx/\\#x\n**/c.log\n!./d//c.log\n"
            b"d/../d/e/\n\\!y\nx/s p\n.\n",
        },
    ),
    Case(
        name="an ignore file that ignores itself and the Dockerfile",
        dockerfile=COPY_ALL,
        tree={**LETTERS, ".dockerignore": "Dockerfile\n.dockerignore\nd\n"},
    ),
    Case(
        name="an ignore file that ignores everything",
        dockerfile="FROM busybox\nCOPY . /all/\n",
        tree={**LETTERS, ".dockerignore": "**\n"},
    ),
    Case(
        name="an ignore file of the Dockerfile's own",
        dockerfile=COPY_ALL,
        place="sub/My.Dockerfile",
        tree={**LETTERS, ".dockerignore": "a.txt\n", "sub/My.Dockerfile.dockerignore": "b.txt\n"},
        argv=("-f", "context/sub/My.Dockerfile", "context"),
    ),
    Case(
        name="an ignore file of the Dockerfile's own that ignores nothing",
        dockerfile=COPY_ALL,
        tree={**LETTERS, ".dockerignore": "*.txt\n", "Dockerfile.dockerignore": "# nothing\n"},
    ),
    Case(
        name="a Dockerfile outside the context",
        dockerfile="FROM scratch\nCOPY . /unused\n",
        tree={**LETTERS, ".dockerignore": "b.txt\n"},
        beside={"other/build": COPY_ALL, "other/.dockerignore": "a.txt\n"},
        argv=("--file", "other/build", "context"),
    ),
    Case(
        name="a Dockerfile in small letters",
        dockerfile=COPY_ALL,
        place="dockerfile",
        tree=LETTERS,
    ),
    Case(
        name="a Dockerfile that is a symlink",
        dockerfile="FROM scratch\nCOPY a.txt /\n",
        place="d/real",
        tree={**LETTERS, "Dockerfile": Symlink("d/real")},
    ),
    Case(
        name="the context is a symlink",
        dockerfile=COPY_ALL,
        tree=LETTERS,
        beside={"way": Symlink("context")},
        argv=("way",),
    ),
    Case(
        name="the context is below a symlink",
        dockerfile="FROM scratch\nCOPY e /\n",
        place="d/Dockerfile",
        tree={**LETTERS, "short": Symlink("d")},
        argv=("-f", "context/short/Dockerfile", "context/short/"),
    ),
    Case(
        name="sizes",
        dockerfile=COPY_ALL,
        tree={
            "empty": File(),
            "sparse": File(hole=3_000_000),
            "half": File(content=b"x" * 40_000, hole=40_000),
            **{f"at-{size}": b"y" * size for size in (1, 32_767, 32_768, 32_769, 262_144, 262_145)},
        },
    ),
    Case(
        name="many files",
        dockerfile=COPY_ALL,
        tree={f"{number % 7}/{number % 3}/{number}": f"{number}" * (number % 50) for number in range(400)},
    ),
    Case(
        name="deep folders",
        dockerfile=f"FROM scratch\nCOPY . /\nCOPY {'x/' * 50} /deep/\n",
        tree={"x/" * 60 + "file": "deep", "y" * 200 + "/" + "z" * 200 + "/" + "w" * 200: "long"},
    ),
    Case(
        name="times",
        dockerfile=COPY_ALL,
        tree={
            "start": File(mtime=1),
            "before": File(mtime=-86_400 * 10**9 - 1),
            "second": File(mtime=10**18),
            "almost": File(mtime=10**18 + 999_999_999),
            "first": File(mtime=EPOCH * 10**9 - 1),
        },
    ),
    Case(
        name="extended attributes",
        dockerfile=COPY_ALL,
        tree={
            "file": File(xattrs={"user.colour": b"red", "user.bytes": b"\x00\xff", "user.empty": b""}),
            "capable": File(mode=0o755, xattrs={"security.capability": CAPABLE}),
        },
    ),
    Case(
        name="named pipes",
        dockerfile=COPY_ALL,
        tree={"pipe": Fifo(), "d/pipe": Fifo(), "file": "x"},
    ),
    Case(
        name="nothing is read from the context",
        dockerfile="FROM busybox\nENV A=1\n",
        tree=LETTERS,
    ),
)
