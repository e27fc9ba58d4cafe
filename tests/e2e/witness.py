"""Looks on while a job runs: what others on the machine or the cluster could read, for a search for secrets."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_buildx.errors import KubeBuilderError
from ci_buildx.kube.client import KubeClient
from tests.e2e.cluster import Builders

_KINDS = (
    *(f"api/v1/{plural}" for plural in ("pods", "secrets", "configmaps", "events", "serviceaccounts")),
    "apis/batch/v1/jobs",
    "apis/coordination.k8s.io/v1/leases",
    "apis/rbac.authorization.k8s.io/v1/rolebindings",
)
_PAUSE = 0.05


@dataclass
class Witness:
    """What was seen: texts by where they were."""

    builders: Builders
    seen: dict[str, set[str]] = field(default_factory=dict)

    def note(self, place: str, text: str) -> None:
        """Remember a text."""
        self.seen.setdefault(place, set()).add(text)

    def note_files(self, place: str, folder: Path, *, without: frozenset[str] = frozenset()) -> None:
        """Remember the content of all files below ``folder``, except what is in folders of these names."""
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and not without & set(path.parts):
                self.note(f"{place} {path.relative_to(folder)}", path.read_text(errors="replace"))

    def look(self) -> None:
        """At the processes of this machine, those in pods included, and at all objects of the builders."""
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.note("process list", process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
        for namespace in self.builders.namespaces():
            self.note("namespace", json.dumps(namespace))
            for kind in _KINDS:
                group, _, plural = kind.rpartition("/")
                self._note_objects(self.builders.kube, f"/{group}/namespaces/{namespace['metadata']['name']}/{plural}")

    def finds(self, secrets: Mapping[str, str]) -> list[str]:
        """Where each of the secrets stands, as it is or in base64."""
        forms = {name: (value, base64.b64encode(value.encode()).decode()) for name, value in secrets.items()}
        return sorted(
            f"{name} in {place}"
            for name, texts in forms.items()
            for place, known in self.seen.items()
            if any(text in each for text in texts for each in known)
        )

    def _note_objects(self, kube: KubeClient, path: str) -> None:
        try:
            items: list[dict[str, Any]] = kube.list(path)["items"]
        except KubeBuilderError:
            return  # the namespace is going
        for item in items:
            contents = (base64.b64decode(value).decode(errors="replace") for value in (item.get("data") or {}).values())
            texts = contents if "/secrets" in path else (json.dumps(item),)
            for text in texts:
                self.note(path.rpartition("/")[2], text)


@contextmanager
def watching(builders: Builders) -> Iterator[Witness]:
    """Look every few moments until the end of the block."""
    witness = Witness(builders)
    over = threading.Event()

    def work() -> None:
        while not over.wait(_PAUSE):
            witness.look()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield witness
    finally:
        over.set()
        thread.join()
