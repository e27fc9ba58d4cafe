"""What a cluster could leave on its host, as lines that can be compared."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from devcluster import cgroups, layout, namespaces

# Folders in which Kubernetes' programs have fixed places.
SUSPECTS = ("/run", "/run/netns", "/var/lib", "/var/log", "/var/lib/cni", "/etc/cni", "/opt", "/tmp/hostpath_pv")
SETTINGS = (
    "kernel/panic*",
    "kernel/keys/*",
    "fs/inotify/*",
    "vm/overcommit_*",
    "vm/panic_on_oom",
    "net/ipv4/ip_forward",
    "net/netfilter/*max",
)
COUNTER = re.compile(r"\[\d+:\d+\]")


def traces() -> set[str]:
    """Everything at once. What belongs to other clusters is left out: they live on meanwhile."""
    found = {
        *(f"mount {point}" for point in namespaces.mount_points()),
        *(f"binfmt {entry}" for entry in binfmt_entries()),
        *(f"file {path}" for folder in SUSPECTS if Path(folder).is_dir() for path in Path(folder).iterdir()),
        *(f"cgroup {folder}" for root in cgroups.hierarchies() for folder, _, _ in os.walk(root)),
        *(f"link {link.name}" for link in Path("/sys/class/net").iterdir()),
        *(f"route {line}" for line in output("ip", "route", "show", "table", "all").splitlines()),
        *(f"rule {COUNTER.sub('', line)}" for line in rules()),
        *(f"process {line}" for line in processes()),
        *(
            f"setting {path} {path.read_text().strip()}"
            for pattern in SETTINGS
            for path in Path("/proc/sys").glob(pattern)
        ),
    }
    others = [path.name for path in layout.state_root().glob("*/") if path.name != "probe"]
    return {trace for trace in found if not any(f"kube-builder-{other}/" in f"{trace}/" for other in others)}


def binfmt_entries() -> list[str]:
    """The kernel's registrations, read where mounting binfmt_misc changes nothing of the host's."""
    script = (
        f"test -e {namespaces.BINFMT}/status || mount -t binfmt_misc none {namespaces.BINFMT}; ls {namespaces.BINFMT}"
    )
    return output("unshare", "--mount", "sh", "-ec", script).split()


def rules() -> list[str]:
    """The host's packet filter."""
    if not shutil.which("iptables-save"):
        return []
    return [line for line in output("iptables-save").splitlines() if not line.startswith("#")]


def processes() -> list[str]:
    """Command lines that speak of the probe."""
    lines = output("ps", "-e", "-ww", "-o", "args=").splitlines()
    return [line for line in lines if f"{layout.state_root()}/probe" in line]


def output(*command: str) -> str:
    """A command's output."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
