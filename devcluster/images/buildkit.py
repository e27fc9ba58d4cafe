"""BuildKit's images, privileged and rootless, with the same contents as upstream's (moby/buildkit 0.34.2, Dockerfile).

They are amd64 only: the arm64 cluster node is really this machine, where BuildKit runs natively. arm64 programs in its
builds run through binfmt, or through the QEMU in the image if binfmt is not registered. That QEMU is Debian's, which
does not follow exec, unlike upstream's patched one: with it, a RUN can only run a shell and the commands that are built
into busybox.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devcluster.images import base, host_files
from devcluster.images.image import Content, Image, Variant
from devcluster.images.layer import Entry, File, Folder, Link
from devcluster.programs import BUILDKIT

# BuildKit looks for `buildkit-qemu-` followed by these names (solver/llbsolver/ops/exec_binfmt.go).
EMULATORS = ("aarch64", "arm")
GIT_CORE = Path("/usr/lib/git-core")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ROOTLESS_USER = ("user", 1000)
_CAP_SETGID, _CAP_SETUID = 6, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The programs that are not Debian's; all are static. Without `buildctl`, there is no exec transport."""

    buildkitd: Path
    buildctl: Path | None
    runc: Path
    busybox: Path


def privileged(programs: Programs) -> Image:
    """Return the image that builders use by default."""
    settings = {
        "Entrypoint": ["buildkitd"],
        "Env": [base.PATH],
        # Without a volume its root would be on overlay, where BuildKit falls back to copying snapshots.
        "Volumes": {"/var/lib/buildkit": {}},
    }
    folders = (Folder(path="/tmp", mode=0o1777), Folder(path="/root", mode=0o700))
    layers = (*_common(programs), Content(entries=(*base.accounts(), *folders)))
    return Image(
        repository="moby/buildkit",
        tags=("buildx-stable-1", BUILDKIT, "latest"),
        variants=(Variant(architecture="amd64", layers=layers, settings=settings),),
    )


def rootless(programs: Programs) -> Image:
    """Return the rootless image: all processes run as uid 1000 in a user namespace created by RootlessKit."""
    name, number = ROOTLESS_USER
    home, runtime = f"/home/{name}", f"/run/user/{number}"
    state = f"{home}/.local/share/buildkit"
    settings = {
        "User": f"{number}:{number}",
        "Entrypoint": ["rootlesskit", "buildkitd"],
        "Env": [
            base.PATH,
            f"HOME={home}",
            f"USER={name}",
            f"XDG_RUNTIME_DIR={runtime}",
            f"TMPDIR={home}/.local/tmp",
            f"BUILDKIT_HOST=unix://{runtime}/buildkit/buildkitd.sock",
        ],
        "Volumes": {state: {}},
    }
    return Image(
        repository="moby/buildkit",
        tags=("buildx-stable-1-rootless", f"{BUILDKIT}-rootless", "rootless"),
        variants=(
            Variant(
                architecture="amd64",
                layers=(*_common(programs), Content(entries=tuple(_rootless_entries(home, runtime, state)))),
                settings=settings,
            ),
        ),
    )


def _common(programs: Programs) -> tuple[Content, ...]:
    """Return the layers of both images, so that a cluster node pulls them once."""
    emulators = (
        File(path=f"/usr/bin/buildkit-qemu-{name}", source=Path(f"/usr/bin/qemu-{name}-static"), mode=0o755)
        for name in EMULATORS
    )
    return (
        Content(entries=(*base.shell(programs.busybox), *git())),
        Content(
            entries=(
                File(path="/usr/bin/buildkitd", source=programs.buildkitd, mode=0o755),
                *([File(path="/usr/bin/buildctl", source=programs.buildctl, mode=0o755)] if programs.buildctl else []),
                File(path="/usr/bin/buildkit-runc", source=programs.runc, mode=0o755),
                *emulators,
            )
        ),
    )


def git() -> Iterator[Entry]:
    """Yield git over HTTPS and SSH, with submodules; xz, which unpacking archives needs; and trusted authorities."""
    yield from host_files.program(Path("/usr/bin/git"))
    for name in ("git", "git-upload-pack", "git-receive-pack", "git-upload-archive"):
        yield Link(path=f"{GIT_CORE}/{name}", target="/usr/bin/git")
    yield from host_files.program(GIT_CORE / "git-remote-http")
    yield Link(path=f"{GIT_CORE}/git-remote-https", target="git-remote-http")
    for name in ("git-submodule", "git-sh-setup", "git-sh-i18n"):
        yield File(path=f"{GIT_CORE}/{name}", source=GIT_CORE / name, mode=0o755)
    yield from host_files.folder(Path("/usr/share/git-core/templates"))
    yield from host_files.program(Path("/usr/bin/ssh"))
    yield from host_files.program(Path("/usr/bin/xz"))
    yield File(path=str(CERTIFICATES), source=CERTIFICATES)


def _rootless_entries(home: str, runtime: str, state: str) -> Iterator[Entry]:
    name, number = ROOTLESS_USER
    yield from base.accounts(ROOTLESS_USER)
    yield from host_files.program(Path("/usr/bin/rootlesskit"))
    # A file capability instead of the setuid bit: with the bit, a pod may not write the uid map.
    yield from host_files.program(Path("/usr/bin/newuidmap"), capability=_CAP_SETUID)
    yield from host_files.program(Path("/usr/bin/newgidmap"), capability=_CAP_SETGID)
    for file in ("subuid", "subgid"):
        yield File(path=f"/etc/{file}", source=f"{name}:100000:65536\n".encode())
    yield Folder(path="/tmp", mode=0o1777)
    yield Folder(path=runtime, mode=0o700, owner=number)
    yield Folder(path=f"{runtime}/buildkit", mode=0o700, owner=number)
    for path in (home, f"{home}/.config", f"{home}/.local", f"{home}/.local/share", f"{home}/.local/tmp", state):
        yield Folder(path=path, owner=number)
