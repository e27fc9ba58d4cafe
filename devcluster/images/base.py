"""Images with only busybox: the sandbox of every pod, and the base image of builds."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping
from pathlib import Path

from devcluster.images.image import Content, Image, Variant
from devcluster.images.layer import Entry, File, Folder, Link

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The shell waits for a background job, because only `wait` ends immediately on a signal.
_PAUSE = "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"


def pause(busybox: Mapping[str, Path]) -> Image:
    """Return the sandbox image, which sleeps until it is terminated."""
    command = ["/bin/sh", "-c", _PAUSE]
    return Image(
        repository="pause",
        tags=("1",),
        variants=tuple(
            Variant(
                architecture=architecture,
                layers=(Content(entries=(*shell(program), Folder(path="/tmp", mode=0o1777))),),
                settings={"Entrypoint": command, "Env": [PATH]},
            )
            for architecture, program in busybox.items()
        ),
    )


def busybox(programs: Mapping[str, Path]) -> Image:
    """Return a base image with a shell for each architecture, compressed like images that users build on."""
    return Image(
        repository="library/busybox",
        tags=("latest", "1", "1.35"),
        variants=tuple(
            Variant(
                architecture=architecture,
                layers=(Content(entries=(*shell(program), *accounts(), *_HOME), compressed=True),),
                settings={"Cmd": ["sh"], "Env": [PATH]},
            )
            for architecture, program in programs.items()
        ),
    )


_HOME = (
    Folder(path="/tmp", mode=0o1777),
    Folder(path="/root", mode=0o700),
    Folder(path="/home"),
    Folder(path="/var/tmp", mode=0o1777),
    Folder(path="/usr/bin"),
    Folder(path="/usr/sbin"),
)


def shell(program: Path) -> tuple[Entry, ...]:
    """Return busybox, and links to it for all its commands."""
    links = [Link(path=f"/bin/{name}", target="busybox") for name in _commands()]
    return (File(path="/bin/busybox", source=program, mode=0o755), *links)


@functools.cache
def _commands() -> tuple[str, ...]:
    """Return the commands of the host's busybox; builds of the same version for other machines have the same ones."""
    listing = subprocess.run(["busybox", "--list"], capture_output=True, text=True, timeout=30, check=True)
    return tuple(name for name in listing.stdout.split() if name != "busybox")


def accounts(*users: tuple[str, int]) -> tuple[Entry, ...]:
    """Return /etc/passwd and /etc/group with root, nobody and additional users."""
    people = (
        ("root", 0, "/root"),
        *((name, number, f"/home/{name}") for name, number in users),
        ("nobody", 65534, "/"),
    )
    passwd = "".join(f"{name}:x:{number}:{number}:{name}:{home}:/bin/sh\n" for name, number, home in people)
    group = "".join(f"{name}:x:{number}:\n" for name, number, _ in people)
    return (
        File(path="/etc/passwd", source=passwd.encode()),
        File(path="/etc/group", source=group.encode()),
    )
