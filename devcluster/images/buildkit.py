"""BuildKit's images, privileged and rootless, with what upstream's hold (moby/buildkit 0.34.2, Dockerfile).

They are amd64 only: the arm64 node is this machine in disguise, and BuildKit there runs at its native speed, while the
arm64 programs that it builds with run through binfmt, or through the QEMU in the image where that is not registered.
That one is Debian's, which doesn't follow exec as upstream's patched one does: with it, a RUN gets as far as a shell
and the commands that busybox has built in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devcluster.images import base, host_files
from devcluster.images.image import Content, Image, Variant
from devcluster.images.layer import Entry, File, Folder, Link
from devcluster.programs import BUILDKIT

# BuildKit looks for `buildkit-qemu-` and these names (solver/llbsolver/ops/exec_binfmt.go).
EMULATORS = ("aarch64", "arm")
GIT_CORE = Path("/usr/lib/git-core")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ROOTLESS_USER = ("user", 1000)
_CAP_SETGID, _CAP_SETUID = 6, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The programs that aren't Debian's; all are static."""

    buildkitd: Path
    buildctl: Path
    runc: Path
    busybox: Path


def privileged(programs: Programs) -> Image:
    """The image that builders use by default."""
    settings = {
        "Entrypoint": ["buildkitd"],
        "Env": [base.PATH],
        # Without a volume its root would lie on overlay, where BuildKit falls back to copying snapshots.
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
    """The image that needs no root: everything runs as uid 1000 in a user namespace made by RootlessKit."""
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
    """The layers that both have, so that a node pulls them once."""
    emulators = (
        File(path=f"/usr/bin/buildkit-qemu-{name}", source=Path(f"/usr/bin/qemu-{name}-static"), mode=0o755)
        for name in EMULATORS
    )
    return (
        Content(entries=(*base.shell(programs.busybox), *git())),
        Content(
            entries=(
                File(path="/usr/bin/buildkitd", source=programs.buildkitd, mode=0o755),
                File(path="/usr/bin/buildctl", source=programs.buildctl, mode=0o755),
                File(path="/usr/bin/buildkit-runc", source=programs.runc, mode=0o755),
                *emulators,
            )
        ),
    )


def git() -> Iterator[Entry]:
    """Git over HTTPS and SSH, with submodules; xz, which unpacking archives calls; and the authorities to trust."""
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
    # A file capability instead of the setuid bit: with the bit, writing the uid map is refused in a pod.
    yield from host_files.program(Path("/usr/bin/newuidmap"), capability=_CAP_SETUID)
    yield from host_files.program(Path("/usr/bin/newgidmap"), capability=_CAP_SETGID)
    for file in ("subuid", "subgid"):
        yield File(path=f"/etc/{file}", source=f"{name}:100000:65536\n".encode())
    yield Folder(path="/tmp", mode=0o1777)
    yield Folder(path=runtime, mode=0o700, owner=number)
    yield Folder(path=f"{runtime}/buildkit", mode=0o700, owner=number)
    for path in (home, f"{home}/.config", f"{home}/.local", f"{home}/.local/share", f"{home}/.local/tmp", state):
        yield Folder(path=path, owner=number)
