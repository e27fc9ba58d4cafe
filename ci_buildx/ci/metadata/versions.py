"""Versions: SemVer 2.0 as node-semver 7 reads it (strict, with a leading ``v``), and PEP 440."""

from __future__ import annotations

import re

from ci_buildx.model.record import dataclass

_LONGEST = 256
_LARGEST = 2**53 - 1
"""Of a number in a version: JavaScript's, as in node-semver (``internal/constants.js``)."""
_NUMBER = r"(?:0|[1-9][0-9]*)"
_IDENTIFIER = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    rf"v?(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<prerelease>{_IDENTIFIER}(?:\.{_IDENTIFIER})*))?(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_PEP440 = re.compile(
    r"v?(?:(?P<epoch>[0-9]+)!)?(?P<release>[0-9]+(?:\.[0-9]+)*)"
    r"(?:[-_.]?(?P<pre>alpha|beta|preview|pre|a|b|c|rc)[-_.]?(?P<pre_number>[0-9]+)?)?"
    r"(?P<post>-(?P<post_bare>[0-9]+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>[0-9]+)?)?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<dev_number>[0-9]+)?)?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?",
    re.IGNORECASE,
)
_SPELLINGS = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version; ``text`` is its canonical form, ``raw`` as it was written.

    ``final`` is whether it is a release: no pre-release, and with PEP 440 no post or development release either.
    """

    raw: str
    text: str
    major: str
    minor: str
    patch: str
    final: bool
    prerelease: str = ""
    build: str = ""


def parse_semver(text: str) -> Version | None:
    """A semantic version, None where it is none."""
    found = _SEMVER.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if not found or any(int(found[name]) > _LARGEST for name in ("major", "minor", "patch")):
        return None
    before = found["prerelease"] or ""
    numbers = f"{found['major']}.{found['minor']}.{found['patch']}"
    return Version(
        raw=text,
        text=f"{numbers}-{before}" if before else numbers,
        major=found["major"],
        minor=found["minor"],
        patch=found["patch"],
        final=not before,
        prerelease=before.replace(".", ","),
        build=(found["build"] or "").replace(".", ","),
    )


def parse_pep440(text: str) -> Version | None:
    """A version as PEP 440 has it, None where it is none."""
    found = _PEP440.fullmatch(text.strip())
    if not found:
        return None
    release = [str(int(part)) for part in found["release"].split(".")]
    padded = [*release, "0", "0"]
    return Version(
        raw=text,
        text=_canonical(found, release),
        major=padded[0],
        minor=padded[1],
        patch=padded[2],
        final=not (found["pre"] or found["post"] or found["dev"]),
    )


def _canonical(found: re.Match[str], release: list[str]) -> str:
    """PEP 440, "Normalization"."""
    parts = [f"{int(found['epoch'])}!" if int(found["epoch"] or 0) else "", ".".join(release)]
    if found["pre"]:
        spelling = found["pre"].lower()
        parts.append(f"{_SPELLINGS.get(spelling, spelling)}{int(found['pre_number'] or 0)}")
    if found["post"]:
        parts.append(f".post{int(found['post_bare'] or found['post_number'] or 0)}")
    if found["dev"]:
        parts.append(f".dev{int(found['dev_number'] or 0)}")
    if found["local"]:
        pieces = re.split(r"[-_.]", found["local"].lower())
        parts.append("+" + ".".join(str(int(piece)) if piece.isdecimal() else piece for piece in pieces))
    return "".join(parts)
