"""Registers emulators, so that the host runs programs of foreign architectures. All clusters share the kernel's list.

When the first cluster starts, the existing registrations are recorded in a file that all clusters share. The last
cluster removes later ones that came from this module and the binfmt image, but no older ones.
"""

import json
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster import namespaces
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster
from devcluster.locks import locked

# If programs for arm64 run, BuildKit assumes that those for arm/v7 run too (containerd, platforms/compare.go).
ENTRIES = ("qemu-aarch64", "qemu-arm")
BOOT = Path("/proc/sys/kernel/random/boot_id")
RULES = Path("/usr/lib/binfmt.d")
# Separator line in the listing: no description by the kernel begins with it.
HEADING = "entry "


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The kernel's description of an emulator (Linux, Documentation/admin-guide/binfmt-misc.rst)."""

    interpreter: str
    flags: str


def register(cluster: Cluster) -> None:
    """Register QEMU for the platforms of arm64 cluster nodes unless registered. Needs the cluster's namespaces.

    The interpreter must have been opened at registration (flag F), otherwise containers cannot find it.
    """
    with locked(cluster.state.parent):
        present = read(cluster)
        remember(note(cluster.state.parent), present)
        for name in ENTRIES:
            if name not in present:
                within(cluster, f"cat > {namespaces.BINFMT}/register", text=definition(name))
            elif "F" not in present[name].flags:
                raise DevclusterError(
                    f"the host's binfmt registration {name} lacks flag F, so containers can't use it: "
                    f"remove it (echo -1 > {namespaces.BINFMT}/{name}) and run `up` again"
                )


def unregister(root: Path) -> None:
    """Remove the registrations that were added since the first cluster started. Safe to repeat.

    The record of older registrations is in ``root``, the clusters' folder.
    """
    before = known(note(root))
    if before is not None:
        paths = [f"{namespaces.BINFMT}/{name}" for name in ours(read(), before)]
        within(None, "\n".join(f"echo -1 > {path}" for path in paths))
    note(root).unlink(missing_ok=True)


def note(root: Path) -> Path:
    """Return the path of the record: the host's boot, and the registrations that existed before the first cluster."""
    return root / "binfmt.json"


def known(file: Path) -> list[str] | None:
    """Return the older registrations, or None without a record of this boot; registrations do not survive a boot."""
    try:
        noted = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return list(noted["before"]) if noted["boot"] == BOOT.read_text() else None


def remember(file: Path, present: Collection[str]) -> None:
    """Record the existing registrations unless a record of this boot exists."""
    if known(file) is None:
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps({"boot": BOOT.read_text(), "before": sorted(present)}))
        fresh.replace(file)


def ours(present: Mapping[str, Registration], before: Collection[str]) -> list[str]:
    """Return the registrations of this module (Debian's rule) and of the binfmt image (QEMU at the image's path)."""
    came = {name: found for name, found in present.items() if name.startswith("qemu-") and name not in before}
    return sorted(
        name
        for name, found in came.items()
        if name in ENTRIES or (found.interpreter == f"/usr/bin/{name}" and "F" in found.flags)
    )


def definition(name: str) -> str:
    """Return Debian's rule for an emulator."""
    return (RULES / f"{name}.conf").read_text().splitlines()[0]


def read(cluster: Cluster | None = None) -> dict[str, Registration]:
    """Return the kernel's registrations by name."""
    loop = f'for file in *; do case $file in register|status) ;; *) echo "{HEADING}$file"; cat "$file" ;; esac; done'
    return dict(parse(within(cluster, f"cd {namespaces.BINFMT}\n{loop}")))


def parse(listing: str) -> Iterator[tuple[str, Registration]]:
    """Yield the registrations in a listing of headings, each followed by the kernel's description."""
    for part in re.split(rf"^{HEADING}", listing, flags=re.MULTILINE)[1:]:
        name, _, description = part.partition("\n")
        interpreter, flags = (field(description, label) for label in ("interpreter ", "flags: "))
        yield name, Registration(interpreter=interpreter, flags=flags)


def field(description: str, label: str) -> str:
    """Return the rest of the description's line that begins with the label, or ""."""
    found = re.search(rf"^{label}(.*)$", description, re.MULTILINE)
    return found[1] if found else ""


def within(cluster: Cluster | None, script: str, *, text: str = "") -> str:
    """Run a shell script with binfmt_misc mounted: in the cluster's mount namespace, or in a temporary one."""
    mounted = f"test -e {namespaces.BINFMT}/status || mount -t binfmt_misc binfmt_misc {namespaces.BINFMT}"
    inside = cluster is not None and namespaces.exist(cluster)
    prefix = namespaces.enter(cluster) if cluster and inside else ["unshare", "--mount", "--propagation", "slave"]
    command = [*prefix, "sh", "-ec", f"{mounted}\n{script}"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevclusterError(f"binfmt_misc: {done.stderr.strip()}")
    return done.stdout
