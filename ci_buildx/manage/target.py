"""The builder that a command applies to, and the user's current builder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.fsutil import scratch
from ci_buildx.kube import config
from ci_buildx.model.documents import parse_json
from ci_buildx.model.record import dataclass
from ci_buildx.settings.values import ClusterSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderTarget:
    """Where to look for a builder; ``namespace`` "" means any namespace."""

    cluster: ClusterSettings
    namespace: str
    name: str = ""


SOURCE = "kube-builder use"
"""Source of the current builder, for errors."""
ANYWHERE = "*"
"""Key that means all contexts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentBuilder:
    """A builder's name and its namespace."""

    builder: str
    namespace: str


def read_current(cluster: ClusterSettings, env: Mapping[str, str]) -> CurrentBuilder | None:
    """Return the current builder for this context, else for all contexts; None if none was chosen.

    An unreadable file counts as no choice. Most machines have no such file: then the kubeconfig is not read either.
    """
    known = _load_choices(_locate_file(env))
    if not known:
        return None
    place = _make_place(cluster, env)
    found = known[place] if place in known else known.get(ANYWHERE)
    if not isinstance(found, dict):
        return None
    return CurrentBuilder(builder=str(found.get("builder", "")), namespace=str(found.get("namespace", "")))


def write_current(
    choice: CurrentBuilder | None, cluster: ClusterSettings, env: Mapping[str, str], *, everywhere: bool = False
) -> None:
    """Store the current builder for this context or, with ``everywhere``, for all; None means no builder.

    No builder for this context is stored explicitly if a builder for all contexts exists. Raises InputError if the file
    cannot be written.
    """
    file = prepare_file(env)
    place = ANYWHERE if everywhere else _make_place(cluster, env)
    known = {} if everywhere else _load_choices(file)
    kept = {other: chosen for other, chosen in known.items() if other != place}
    if choice is not None:
        kept[place] = {"builder": choice.builder, "namespace": choice.namespace}
    elif ANYWHERE in kept:
        kept[place] = None
    if choice is not None or file.exists():
        _save_choices(file, kept)


def prepare_file(env: Mapping[str, str]) -> Path:
    """Return the file of current builders and create its folder. Raises InputError if that is impossible."""
    file = _locate_file(env)
    if file is None:
        raise InputError("missing folder for the current builder", fix="set HOME or XDG_STATE_HOME")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _make_write_error(file, error) from error
    return file


def forget_current(choice: CurrentBuilder, env: Mapping[str, str]) -> None:
    """Delete ``choice`` everywhere, because the builder is gone.

    If the file cannot be written, the next use of the builder reports that it is missing.
    """
    file = _locate_file(env)
    known = _load_choices(file)
    gone = {"builder": choice.builder, "namespace": choice.namespace}
    kept = {place: chosen for place, chosen in known.items() if chosen != gone}
    if file is not None and kept != known:
        with suppress(InputError):
            _save_choices(file, kept)


def _save_choices(file: Path, known: Mapping[str, Any]) -> None:
    """Write the file atomically: concurrent readers get the old content or the new."""
    try:
        scratch.replace(file, (json.dumps(known, indent=2) + "\n").encode())
    except OSError as error:
        raise _make_write_error(file, error) from error


def _make_write_error(file: Path, error: OSError) -> InputError:
    return InputError(f"cannot store the builder in {file}: {error.strerror}", fix="set XDG_STATE_HOME")


def _locate_file(env: Mapping[str, str]) -> Path | None:
    """Return the file of current builders, None if the user has no folder for it."""
    if env.get("XDG_STATE_HOME"):
        return Path(env["XDG_STATE_HOME"]) / "kube-builder" / "current.json"
    return Path(env["HOME"]) / ".local" / "state" / "kube-builder" / "current.json" if env.get("HOME") else None


def _load_choices(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        known = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _make_place(cluster: ClusterSettings, env: Mapping[str, str]) -> str:
    found = config.load_cluster(cluster, env=env)
    return f"{found.context}@{found.server}"
