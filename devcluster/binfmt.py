"""Lets the host run programs of the foreign architecture: the one thing of a cluster that the whole kernel shares.

What this module registers is noted before, in a file that all clusters share, and removed with the last of them.
A registration that was there before is used and left alone.
"""

import subprocess
from pathlib import Path

from devcluster import namespaces
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster

ENTRY = "qemu-aarch64"
BOOT = Path("/proc/sys/kernel/random/boot_id")
DEFINITION = Path(f"/usr/lib/binfmt.d/{ENTRY}.conf")


def note(cluster: Cluster) -> Path:
    """The file that says in which boot of the host the registration is ours."""
    return cluster.state.parent / f"binfmt-{ENTRY}"


def ours(cluster: Cluster) -> bool:
    """Whether the registration that may be there now is ours: none outlives a boot."""
    return note(cluster).exists() and note(cluster).read_text() == BOOT.read_text()


def register(cluster: Cluster) -> None:
    """Register QEMU for arm64 where nobody has. Needs the cluster's namespaces, in which binfmt_misc is mounted.

    The interpreter must have been opened at registration (flag F), or containers wouldn't find it.
    """
    present = read(cluster)
    if present is None:
        note(cluster).write_text(BOOT.read_text())
        within(cluster, f"cat > {namespaces.BINFMT}/register", text=DEFINITION.read_text().splitlines()[0])
    elif "F" not in flags(present):
        raise DevclusterError(
            f"the host's binfmt registration {ENTRY} lacks flag F, so containers can't use it: "
            f"remove it (echo -1 > {namespaces.BINFMT}/{ENTRY}) and run `up` again"
        )


def unregister(cluster: Cluster) -> None:
    """Remove the registration if it is ours and this is the last cluster. Safe to repeat."""
    if any(path.is_dir() and path != cluster.state for path in cluster.state.parent.iterdir()):
        return
    if ours(cluster):
        within(cluster, f"if test -e {namespaces.BINFMT}/{ENTRY}; then echo -1 > {namespaces.BINFMT}/{ENTRY}; fi")
    note(cluster).unlink(missing_ok=True)


def read(cluster: Cluster) -> str | None:
    """The kernel's description of the registration, None where there is none."""
    text = within(cluster, f"cat {namespaces.BINFMT}/{ENTRY} 2>/dev/null || true")
    return text or None


def flags(description: str) -> str:
    """The flags in the kernel's description (Documentation/admin-guide/binfmt-misc.rst)."""
    return next((line.split()[1] for line in description.splitlines() if line.startswith("flags: ")), "")


def within(cluster: Cluster, script: str, *, text: str = "") -> str:
    """Run a shell line where binfmt_misc is mounted: in the cluster's mount namespace, or in one just for this."""
    mounted = f"test -e {namespaces.BINFMT}/status || mount -t binfmt_misc binfmt_misc {namespaces.BINFMT}"
    prefix = (
        namespaces.enter(cluster) if namespaces.exist(cluster) else ["unshare", "--mount", "--propagation", "slave"]
    )
    command = [*prefix, "sh", "-ec", f"{mounted}\n{script}"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevclusterError(f"binfmt_misc: {done.stderr.strip()}")
    return done.stdout
