"""Fetches and unpacks a release's bundle: ``python -I -S unpack.py SHA256 LOCK TARGET``.

The archive is at the URL or path of the variable BUNDLE, which is not an argument because a URL may contain a token.
LOCK is the digest of the lock that its packages must be those of, TARGET the folder to fill. The last line of the
output explains a failure. Exit code 3 means that the packages must come from elsewhere, 2 that something is wrong.
"""

import hashlib
import json
import os
import sys
import tempfile
import time
import zipfile
from contextlib import suppress
from typing import IO, Any, NoReturn

UNUSABLE = 3
LARGEST = 512 << 20
"""Most bytes of an archive."""
PATIENCE = 30.0
"""Seconds without a byte."""
DEADLINE = 300.0
"""Seconds for the whole archive."""
TRIES = 3
_AUTHORITIES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def main(digest: str, lock: str, target: str) -> None:
    """Fetch, verify and unpack the archive. Exits with 2 or 3 on failure."""
    with tempfile.TemporaryFile() as archive:
        found = _fetch(os.environ["BUNDLE"], archive)
        if found != digest:
            _fail(2, f"its digest is sha256:{found}, not that of the input bundle; correct the digest or the archive")
        try:
            with zipfile.ZipFile(archive) as opened:
                _check(json.loads(opened.read("bundle.json")), lock)
                _extract(opened, target)
        except (zipfile.BadZipFile, LookupError, TypeError, ValueError):
            _fail(2, "is not a bundle of kube-builder")


def _fail(code: int, message: str) -> NoReturn:
    print(message)
    sys.exit(code)


def _fetch(source: str, into: IO[bytes]) -> str:
    """Copy the archive into a file and return its SHA-256 as hexadecimal digits."""
    failure = ""
    for number in range(TRIES):
        time.sleep(number)
        into.seek(0)
        into.truncate()
        try:
            with _open(source) as stream:
                return _copy(stream, into)
        except (OSError, ValueError) as error:
            failure = str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error)
            if source.startswith("/") or 400 <= getattr(error, "code", 0) < 500:
                break
    _fail(UNUSABLE, f"cannot be read: {failure}")


def _open(source: str) -> IO[bytes]:
    if source.startswith("/"):
        return open(source, "rb")
    import ssl
    from urllib.request import HTTPSHandler, Request, build_opener

    handlers = []
    if source.startswith("https:"):
        # Not create_default_context, which refuses certificates without an authority's key identifier since 3.13.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_default_certs()
        for name in _AUTHORITIES:
            if file := os.environ.get(name):
                context.load_verify_locations(file)
        handlers.append(HTTPSHandler(context=context))
    # Proxies are those of the environment.
    opened: IO[bytes] = build_opener(*handlers).open(Request(source), timeout=PATIENCE)
    return opened


def _copy(stream: IO[bytes], into: IO[bytes]) -> str:
    """Copy a stream within its bounds and return its SHA-256."""
    digest, size, deadline = hashlib.sha256(), 0, time.monotonic() + DEADLINE
    while piece := stream.read(1 << 20):
        digest.update(piece)
        into.write(piece)
        size += len(piece)
        if size > LARGEST:
            raise ValueError(f"it has more than {LARGEST >> 20} MiB")
        if time.monotonic() > deadline:
            raise ValueError(f"it has not arrived within {DEADLINE:.0f} s")
    return digest.hexdigest()


def _check(facts: dict[str, Any], lock: str) -> None:
    """Exit unless the archive is for this interpreter, this machine and this version."""
    python, machine, libc = list(sys.version_info[:2]), os.uname().machine, _read_libc()
    wanted, least = facts["python"], facts["glibc"]
    if (wanted, facts["machine"]) != (python, machine):
        made = f"Python {'.'.join(map(str, wanted))} on {facts['machine']}"
        _fail(UNUSABLE, f"is for {made}; this is Python {'.'.join(map(str, python))} on {machine}")
    if not libc or libc < least:
        _fail(UNUSABLE, f"needs glibc {'.'.join(map(str, least))}")
    if facts["lock"] != lock:
        _fail(UNUSABLE, f"is that of kube-builder {facts['version']}, whose locked packages are others")


def _extract(archive: zipfile.ZipFile, target: str) -> None:
    for member in archive.infolist():
        if member.filename.startswith("packages/") and not member.is_dir():
            member.filename = member.filename.removeprefix("packages/")
            archive.extract(member, target)


def _read_libc() -> list[int]:
    """Return the version of glibc, or an empty list if the C library is another one."""
    with suppress(ValueError, OSError):
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        if name == "glibc":
            return [int(part) for part in version.split(".")[:2]]
    return []


if __name__ == "__main__":
    main(*sys.argv[1:])
