"""Lets the host run programs of foreign architectures: the one thing of a cluster that the whole kernel shares.

What the kernel knew when the first cluster came up is noted in a file that all clusters share. The last one removes
what came since from this module and from the binfmt image; a registration that was there before is left alone.
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

# Where programs for arm64 run, BuildKit believes those for arm/v7 to run too (containerd, platforms/compare.go).
ENTRIES = ("qemu-aarch64", "qemu-arm")
BOOT = Path("/proc/sys/kernel/random/boot_id")
RULES = Path("/usr/lib/binfmt.d")
# A line of its own in the listing: no description of the kernel's begins with it.
HEADING = "entry "


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What the kernel says of an emulator (Linux, Documentation/admin-guide/binfmt-misc.rst)."""

    interpreter: str
    flags: str


def register(cluster: Cluster) -> None:
    """Register QEMU for what arm64 nodes run, where nobody has. Needs the cluster's namespaces.

    The interpreter must have been opened at registration (flag F), or containers wouldn't find it.
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
    """Remove what came since the first cluster, whose note is in the clusters' folder. Safe to repeat."""
    before = known(note(root))
    if before is not None:
        paths = [f"{namespaces.BINFMT}/{name}" for name in ours(read(), before)]
        within(None, "\n".join(f"echo -1 > {path}" for path in paths))
    note(root).unlink(missing_ok=True)


def note(root: Path) -> Path:
    """The file that says in which boot of the host which registrations were there before ours."""
    return root / "binfmt.json"


def known(file: Path) -> list[str] | None:
    """The registrations that were there before; None without a note of this boot, which no registration outlives."""
    try:
        noted = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return list(noted["before"]) if noted["boot"] == BOOT.read_text() else None


def remember(file: Path, present: Collection[str]) -> None:
    """Note what is there, unless the note of this boot was made already."""
    if known(file) is None:
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps({"boot": BOOT.read_text(), "before": sorted(present)}))
        fresh.replace(file)


def ours(present: Mapping[str, Registration], before: Collection[str]) -> list[str]:
    """Those that this module or the binfmt image made: with Debian's rule, or with QEMU at the image's place."""
    came = {name: found for name, found in present.items() if name.startswith("qemu-") and name not in before}
    return sorted(
        name
        for name, found in came.items()
        if name in ENTRIES or (found.interpreter == f"/usr/bin/{name}" and "F" in found.flags)
    )


def definition(name: str) -> str:
    """Debian's rule for an emulator."""
    return (RULES / f"{name}.conf").read_text().splitlines()[0]


def read(cluster: Cluster | None = None) -> dict[str, Registration]:
    """The kernel's registrations by name."""
    loop = f'for file in *; do case $file in register|status) ;; *) echo "{HEADING}$file"; cat "$file" ;; esac; done'
    return dict(parse(within(cluster, f"cd {namespaces.BINFMT}\n{loop}")))


def parse(listing: str) -> Iterator[tuple[str, Registration]]:
    """The registrations in a listing of headings, each followed by the kernel's description."""
    for part in re.split(rf"^{HEADING}", listing, flags=re.MULTILINE)[1:]:
        name, _, description = part.partition("\n")
        interpreter, flags = (field(description, label) for label in ("interpreter ", "flags: "))
        yield name, Registration(interpreter=interpreter, flags=flags)


def field(description: str, label: str) -> str:
    """The rest of the description's line that begins with the label, empty without one."""
    found = re.search(rf"^{label}(.*)$", description, re.MULTILINE)
    return found[1] if found else ""


def within(cluster: Cluster | None, script: str, *, text: str = "") -> str:
    """Run a shell script where binfmt_misc is mounted: in a cluster's mount namespace, or in one just for this."""
    mounted = f"test -e {namespaces.BINFMT}/status || mount -t binfmt_misc binfmt_misc {namespaces.BINFMT}"
    inside = cluster is not None and namespaces.exist(cluster)
    prefix = namespaces.enter(cluster) if cluster and inside else ["unshare", "--mount", "--propagation", "slave"]
    command = [*prefix, "sh", "-ec", f"{mounted}\n{script}"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevclusterError(f"binfmt_misc: {done.stderr.strip()}")
    return done.stdout
