"""Which builder is the current one: what ``use`` chose on this machine.

What a builder is, the cluster knows. Which one somebody works with is theirs alone: jobs that share one account of the
cluster must not redirect each other's builds. So it is in a small file of the user's state folder, for each context of
the kubeconfig.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.fsutil import scratch
from ci_buildx.kube import config
from ci_buildx.model.record import dataclass
from ci_buildx.settings.values import ClusterSettings

SOURCE = "kube-builder use"
"""Where the choice came from, for errors."""
ANYWHERE = "*"
"""Stands for all contexts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A builder and its namespace."""

    builder: str
    namespace: str


def read(cluster: ClusterSettings, env: Mapping[str, str]) -> Choice | None:
    """What was chosen for this context, or for all; None if nothing was. A file that cannot be read counts for none.

    Most machines have none: then not even the kubeconfig is read.
    """
    known = _load(_file(env))
    if not known:
        return None
    place = _place(cluster, env)
    found = known[place] if place in known else known.get(ANYWHERE)
    if not isinstance(found, dict):
        return None
    return Choice(builder=str(found.get("builder", "")), namespace=str(found.get("namespace", "")))


def write(choice: Choice | None, cluster: ClusterSettings, env: Mapping[str, str], *, everywhere: bool = False) -> None:
    """Remember a choice, None for no builder, for this context or for all. Raises InputError if that fails.

    No builder for this context is remembered, too, where there is one for all.
    """
    file = ready(env)
    place = ANYWHERE if everywhere else _place(cluster, env)
    known = {} if everywhere else _load(file)
    kept = {other: chosen for other, chosen in known.items() if other != place}
    if choice is not None:
        kept[place] = {"builder": choice.builder, "namespace": choice.namespace}
    elif ANYWHERE in kept:
        kept[place] = None
    if choice is not None or file.exists():
        _save(file, kept)


def ready(env: Mapping[str, str]) -> Path:
    """The file for choices, in a folder that is there. Raises InputError if there is no place for one."""
    file = _file(env)
    if file is None:
        raise InputError("there is no folder to remember the builder in", fix="set HOME or XDG_STATE_HOME")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(file, error) from error
    return file


def forget(choice: Choice, env: Mapping[str, str]) -> None:
    """Choose nothing wherever ``choice`` was chosen: it is gone. Where that cannot be written, its next use tells."""
    file = _file(env)
    known = _load(file)
    gone = {"builder": choice.builder, "namespace": choice.namespace}
    kept = {place: chosen for place, chosen in known.items() if chosen != gone}
    if file is not None and kept != known:
        with suppress(InputError):
            _save(file, kept)


def _save(file: Path, known: Mapping[str, Any]) -> None:
    """All or nothing: whoever reads meanwhile finds what was there before."""
    try:
        scratch.replace(file, (json.dumps(known, indent=2) + "\n").encode())
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(file: Path, error: OSError) -> InputError:
    return InputError(f"cannot remember the builder in {file}: {error.strerror}", fix="set XDG_STATE_HOME")


def _file(env: Mapping[str, str]) -> Path | None:
    """Where choices are remembered, None for a user who has no place for that."""
    if env.get("XDG_STATE_HOME"):
        return Path(env["XDG_STATE_HOME"]) / "kube-builder" / "current.json"
    return Path(env["HOME"]) / ".local" / "state" / "kube-builder" / "current.json" if env.get("HOME") else None


def _load(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _place(cluster: ClusterSettings, env: Mapping[str, str]) -> str:
    found = config.load(cluster, env=env)
    return f"{found.context}@{found.server}"
