"""The cluster's network and mount namespaces: all effects within them disappear with them, on any host.

Two files in the cluster's state folder keep them alive (mount(8), "bind mounts of namespace files"). In the mount
namespace, folders in which Kubernetes' programs use fixed paths are replaced with private ones, so that
/run/containerd, /var/lib/kubelet, /var/lib/cni, /var/log/containers and /tmp/hostpath_pv are the cluster's own.
"""

import shlex
import shutil
import subprocess
from pathlib import Path

from devcluster import cache
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster

NSENTER = "/usr/bin/nsenter"
PRIVATE = ("/run", "/tmp", "/var/lib", "/var/log")
INNER_INTERFACE = "eth0"
# Settings that a kubelet writes (kubernetes 1.34, setupKernelTunables in pkg/kubelet/cm/container_manager_linux.go).
SETTINGS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
BINFMT = "/proc/sys/fs/binfmt_misc"


def enter(cluster: Cluster, *, mount: bool = True) -> list[str]:
    """Return the prefix of a command that runs in the cluster's namespaces."""
    prefix = [NSENTER, f"--net={cluster.namespaces / 'net'}"]
    return [*prefix, f"--mount={cluster.namespaces / 'mnt'}"] if mount else prefix


def shield(folder: Path) -> list[str]:
    """Return an additional prefix for kubelets, which gives them copies of kernel-wide settings to write.

    Their other mounts must reach the containers, so only /proc is private in this inner mount namespace. In the outer
    one /proc stays as it is: a pod in a user namespace may mount its own only if one is fully visible.
    """
    lines = ["mount --make-private /proc"]
    for setting in SETTINGS:
        copy = shlex.quote(str(folder / setting.replace("/", "-")))
        lines += [f"cat /proc/sys/{setting} > {copy}", f"mount --bind {copy} /proc/sys/{setting}"]
    script = " && ".join([*lines, 'exec "$@"'])
    return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-ec", script, "shield"]


def exist(cluster: Cluster) -> bool:
    """Return whether both namespaces exist and their setup was completed."""
    kept = mount_points()
    files = (cluster.namespaces / "net", cluster.namespaces / "mnt")
    return all(str(file) in kept for file in files) and (cluster.namespaces / "ready").exists()


def joined(cluster: Cluster) -> bool:
    """Return whether the veth pair exists."""
    return Path(f"/sys/class/net/{cluster.outer_interface}").exists()


def refuse_stranger(cluster: Cluster) -> None:
    """Raise if the link exists without our namespace: a cluster of that name has its state elsewhere.

    The namespace is created before the link, and the link is removed before the namespace.
    """
    if joined(cluster) and str(cluster.namespaces / "net") not in mount_points():
        raise DevclusterError(
            f"a cluster {cluster.name!r} with its state outside of {cluster.state.parent} is up: "
            "choose another --name, or set KUBE_BUILDER_STATE as for that one"
        )


def mount_points() -> list[str]:
    """Return the mount points of this process's mount namespace, in the order of mounting (proc(5))."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4].encode().decode("unicode_escape") for line in lines]


def create(cluster: Cluster) -> None:
    """Create both namespaces and connect them to the host."""
    place = cluster.namespaces
    place.mkdir(parents=True, exist_ok=True)
    # A file can keep a mount namespace only on a private mount (unshare(1)).
    run("mount", "--bind", place, place)
    run("mount", "--make-private", place)
    for file in ("net", "mnt"):
        (place / file).touch()
    run("unshare", f"--net={place / 'net'}", "true")
    prepare_private(cluster)
    script = " && ".join(shlex.join(command) for command in mounts(cluster))
    run("unshare", f"--mount={place / 'mnt'}", "--propagation", "slave", "sh", "-ec", script)
    join(cluster)


def prepare_private(cluster: Cluster) -> None:
    """Create the private folders, with mount points for visible folders. /run starts empty, as after a boot."""
    shutil.rmtree(private(cluster, "/run"), ignore_errors=True)
    for folder in PRIVATE:
        place = private(cluster, folder)
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o1777 if folder == "/tmp" else 0o755)
    for _, target in visible(cluster):
        target.mkdir(parents=True, exist_ok=True)


def private(cluster: Cluster, folder: str) -> Path:
    """Return the folder that replaces `folder` in the mount namespace."""
    return cluster.state / "private" / folder.strip("/").replace("/", "-")


def visible(cluster: Cluster) -> list[tuple[Path, Path]]:
    """Return the needed folders that would be hidden, each with its mount point in a private folder."""
    needed = [cluster.state, cache.folder()]
    return [
        (path, private(cluster, folder) / path.relative_to(folder))
        for path in needed
        for folder in PRIVATE
        if path.is_relative_to(folder)
    ]


def mounts(cluster: Cluster) -> list[list[str]]:
    """Return the commands that set up the mount namespace.

    It receives the host's mounts (slave) but does not propagate its own; pods may share mounts with their cluster node
    (shared).
    """
    keep = [["mount", "--rbind", str(source), str(target)] for source, target in visible(cluster)]
    hide = [["mount", "--rbind", str(private(cluster, folder)), folder] for folder in PRIVATE]
    return [*keep, *hide, ["mount", "--make-rshared", "/"]]


def join(cluster: Cluster) -> None:
    """Connect the network namespace to the host by a veth pair and route the cluster's addresses through it.

    Both namespaces count as existing only after this has completed.
    """
    ready = cluster.namespaces / "ready"
    ready.unlink(missing_ok=True)
    inside = cluster.namespaces / "net"
    outer = cluster.outer_interface
    run("ip", "link", "add", outer, "type", "veth", "peer", "name", INNER_INTERFACE, "netns", inside)
    run("ip", "address", "add", f"{cluster.host_address}/{cluster.link.prefixlen}", "dev", outer)
    run("ip", "link", "set", outer, "up")
    run("ip", "route", "add", cluster.network, "via", cluster.address, "dev", outer)
    within = enter(cluster, mount=False)
    run(*within, "ip", "link", "set", "lo", "up")
    run(*within, "ip", "link", "set", INNER_INTERFACE, "up")
    for node in cluster.nodes:
        run(*within, "ip", "address", "add", f"{node.address}/{cluster.link.prefixlen}", "dev", INNER_INTERFACE)
    run(*within, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    ready.touch()


def refuse_overlap(cluster: Cluster) -> None:
    """Raise if the host routes the cluster's addresses elsewhere: clusters' address ranges may collide."""
    foreign = [line for line in routes(cluster) if f"dev {cluster.outer_interface} " not in f"{line} "]
    if foreign:
        raise DevclusterError(
            f"cluster {cluster.name!r} would use {cluster.network}, which the host routes elsewhere "
            f"({foreign[0].strip()}): choose another --name"
        )


def routes(cluster: Cluster) -> list[str]:
    """Return the host's routes to addresses of the cluster."""
    answer = subprocess.run(
        ["ip", "-4", "route", "show", "root", str(cluster.network)], check=True, capture_output=True, text=True
    )
    return answer.stdout.splitlines()


def remove(cluster: Cluster) -> None:
    """Remove interface, routes and namespaces; their processes must have ended. Safe to repeat."""
    if joined(cluster):
        run("ip", "link", "delete", cluster.outer_interface)
    inside = [point for point in mount_points() if Path(point).is_relative_to(cluster.state)]
    for point in reversed(inside):
        run("umount", "--lazy", point)


def run(*command: object) -> None:
    """Run a command of the host; its standard error becomes the error message."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevclusterError(f"{shlex.join(str(part) for part in command)}: {done.stderr.strip() or done.returncode}")
