"""Names that are taken: objects that exist before the run that would have created them.

Labels prove nothing, because anyone can write them: a run accepts only objects with its own nonce.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import Manifest
from ci_buildx.errors import Conflict

_LONGEST = 200
"""Longest text from an annotation in a message, in characters."""


def is_own(existing: Mapping[str, Any], manifest: Manifest) -> bool:
    """Return whether this run created ``existing`` from ``manifest``, and it is not being deleted."""
    nonce = labels.read_nonce(manifest)
    same = labels.belongs_to(existing, manifest["metadata"]["labels"][labels.BUILDER])
    return same and bool(nonce) and labels.read_nonce(existing) == nonce and not _is_going(existing)


def make_conflict(existing: Mapping[str, Any], manifest: Manifest) -> Conflict:
    """Return the error for a name that is taken.

    It names the existing object, the fix and, if the object's annotations contain that, who created it when.
    """
    metadata = manifest["metadata"]
    kind, name, space = manifest["kind"], metadata["name"], existing["metadata"].get("namespace", "")
    what = f"{kind.lower() if kind == 'Namespace' else kind} {name}{f' in namespace {space}' if space else ''}"
    if labels.belongs_to(existing, metadata["labels"][labels.BUILDER]) and _is_going(existing):
        return Conflict(f"{what} is still being deleted", status=409, fix="try again when it is gone")
    removal = f"kubectl delete{f' -n {space}' if space else ''} {kind.lower()} {name}"
    return Conflict(
        f"{what} exists already, and this run did not make it{made_by(existing)}",
        status=409,
        fix=f"start a new job, which takes another name; if nobody uses it: {removal}",
    )


def made_by(existing: Mapping[str, Any]) -> str:
    """Return in brackets when an object was created and, by its annotations, by whom and for what; else ""."""
    metadata = existing["metadata"]
    notes = metadata.get("annotations") or {}
    created = metadata.get("creationTimestamp") or ""
    said = [f"created {_plain(created)}"] if created else []
    for key, word in ((labels.CREATOR, "by"), (labels.REPOSITORY, "for"), (labels.RUN_URL, "in")):
        if notes.get(key):
            said.append(f"{word} {_plain(notes[key])}")
    return f" ({', '.join(said)})" if said else ""


def _is_going(existing: Mapping[str, Any]) -> bool:
    return bool(existing["metadata"].get("deletionTimestamp"))


def _plain(text: str) -> str:
    """Return untrusted text as one short, printable line."""
    shown = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
