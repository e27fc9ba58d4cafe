"""Seeds of the token authority, one for each host, in docker's ``.token_seed``.

The file and its lock are those of buildx (BuildKit 0.34.2, ``session/auth/authprovider/tokenseed.go``): with the same
seed as yesterday, or as buildx, a builder that was kept has our tokens still, and a cached build asks for none. A seed
cannot be made of the login instead: buildkitd, who knows the public key, could then guess passwords.
"""

from __future__ import annotations

import json
import os
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ci_buildx.model.secret import Secret

_FILE = ".token_seed"
_LOCK = ".token_seed.lock"
_SIZE = 16
_FIELD = "Seed"


class Seeds:
    """Thread-safe. Where ``folder`` is missing (as on a CI runner) or cannot be written, seeds live as long as this."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._known: dict[str, Secret] = {}

    def get(self, host: str) -> Secret:
        """The host's seed, a new one where it has none."""
        with self._lock:
            if host not in self._known:
                self._known[host] = self._kept(host)
            return self._known[host]

    def _kept(self, host: str) -> Secret:
        fresh = os.urandom(_SIZE)
        with suppress(OSError), self._locked():
            document = self._read()
            if seed := _seed(document.get(host)):
                return Secret(seed)
            self._write({**document, host: {_FIELD: b64encode(fresh).decode()}})
        return Secret(fresh)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Held for milliseconds, by buildx too."""
        import fcntl

        descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> dict[str, Any]:
        """What the file holds; nothing if it is missing or not whole."""
        try:
            document = json.loads((self._folder / _FILE).read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    def _write(self, document: dict[str, Any]) -> None:
        from ci_buildx.fsutil import scratch

        scratch.replace(self._folder / _FILE, json.dumps(document, indent=2).encode(), mode=0o600)


def _seed(entry: object) -> bytes:
    """The seed in an entry, b"" if there is none that can be read."""
    try:
        return b64decode(entry[_FIELD], validate=True)  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        return b""
