"""The host's limit of inotify instances, which all clusters share.

A cluster has 21 instances, most of them of its kubelets; the kernel's limit for each user is 128 (Linux,
fs/notify/inotify). Without a higher one, the kubelets of a sixth cluster cannot start.
"""

import json
from contextlib import suppress
from pathlib import Path

from devcluster.binfmt import BOOT
from devcluster.locks import locked

LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
WANTED = 1024


def raise_limit(root: Path, limit: Path = LIMIT) -> None:
    """Raise the limit if it is lower, and record the former one in ``root``, the clusters' folder.

    On hosts where it cannot be changed it stays: fewer clusters fit there.
    """
    with locked(root):
        before = int(limit.read_text())
        if before >= WANTED:
            return
        with suppress(OSError):
            limit.write_text(f"{WANTED}\n")
            note(root).write_text(json.dumps({"boot": BOOT.read_text(), "before": before}))


def restore_limit(root: Path, limit: Path = LIMIT) -> None:
    """Set the limit that was found before the first cluster, unless somebody else has changed it. Safe to repeat."""
    with suppress(OSError, ValueError):
        noted = json.loads(note(root).read_text())
        if noted["boot"] == BOOT.read_text() and int(limit.read_text()) == WANTED:
            limit.write_text(f"{noted['before']}\n")
    note(root).unlink(missing_ok=True)


def note(root: Path) -> Path:
    """Return the path of the record: the host's boot, and the limit before the first cluster."""
    return root / "inotify.json"
