"""Image references: ``[domain/]path[:tag][@digest]``.

The grammar and the normalisation are those of distribution/reference v0.6.0 (``regexp.go``, ``normalize.go``), the
digests' those of opencontainers/go-digest v1.0.0 (``algorithm.go``). One difference: a first part that has a dot but is
not a valid host (``foo_bar.com/app``) is rejected here; distribution takes it for a path without a registry.
"""

from __future__ import annotations

from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass, replace

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"

_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_LONGEST_PATH = 255
_DIGEST_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = compile_lazily(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = compile_lazily(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = compile_lazily(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = compile_lazily(r"(?P<algorithm>[a-z0-9]+):(?P<digits>[a-f0-9]+)")
_IMAGE_ID = compile_lazily(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """One normalised reference: ``alpine`` has domain ``docker.io`` and path ``library/alpine``.

    ``tag`` and ``digest`` (``sha256:…``) are "" if missing.
    """

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return self.name + self._suffix

    @property
    def name(self) -> str:
        """Domain and path, without tag and digest."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """The short form that users type: without ``docker.io/`` and ``library/``."""
        if self.domain != DEFAULT_DOMAIN:
            return str(self)
        official = self.path.removeprefix(_OFFICIAL)
        return (self.path if "/" in official else official) + self._suffix

    def add_default_tag(self) -> ImageReference:
        """Return the reference with the tag ``latest`` if it has neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)

    @property
    def _suffix(self) -> str:
        return (self.tag and f":{self.tag}") + (self.digest and f"@{self.digest}")


def is_tag(text: str) -> bool:
    """Return whether a text is a valid tag."""
    return _TAG.fullmatch(text) is not None


def parse_reference(text: str) -> ImageReference:
    """Parse and normalise a reference.

    Raises ValueError with a reason that names no input: the caller knows where the text came from.
    """
    if not text:
        raise ValueError("the reference is empty")
    if "://" in text:
        raise ValueError(f"an image reference has no scheme; omit {text[: text.index('://') + 3]!r}")
    if _IMAGE_ID.fullmatch(text):
        raise ValueError("64 hexadecimal digits are an image ID, not a repository name")
    domain, remainder = _split_domain(text)
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f"{domain!r} is not a registry host")
    named, at, digest = remainder.partition("@")
    path, colon, tag = named.partition(":")
    _check_path(path)
    if colon:
        _check_tag(tag)
    if at:
        _check_digest(digest)
    return ImageReference(domain, path, tag, digest)


def _split_domain(text: str) -> tuple[str, str]:
    """Split off the domain: the first part if it looks like a domain, otherwise Docker Hub."""
    first, slash, rest = text.partition("/")
    is_domain = first == "localhost" or "." in first or ":" in first or first.lower() != first
    if not slash or not is_domain:
        domain, rest = DEFAULT_DOMAIN, text
    else:
        domain = DEFAULT_DOMAIN if first == _LEGACY_DOMAIN else first
    if domain == DEFAULT_DOMAIN and "/" not in rest:
        rest = _OFFICIAL + rest
    return domain, rest


def _check_path(path: str) -> None:
    if _PATH.fullmatch(path):
        if len(path) > _LONGEST_PATH:
            raise ValueError(f"the repository name has {len(path)} characters, more than {_LONGEST_PATH}")
        return
    shown = path.removeprefix(_OFFICIAL)
    if not shown:
        raise ValueError("the repository name is missing")
    if path != path.lower():
        raise ValueError(f"repository name {shown!r} must be lower-case")
    raise ValueError(
        f"repository name {shown!r} may contain only a-z, 0-9 and, between them, '.', '_', '__', '-' and '/'"
    )


def _check_tag(tag: str) -> None:
    if not _TAG.fullmatch(tag):
        raise ValueError(
            f"tag {tag!r} must be 1 to 128 characters of A-Z, a-z, 0-9, '_', '.', '-' and not begin with '.' or '-'"
        )


def _check_digest(digest: str) -> None:
    match = _DIGEST.fullmatch(digest)
    if not match:
        raise ValueError(f"digest {digest!r} is not algorithm:hexadecimal")
    digits = _DIGEST_DIGITS.get(match["algorithm"])
    if digits is None:
        raise ValueError(f"digest algorithm {match['algorithm']!r} is none of {', '.join(_DIGEST_DIGITS)}")
    if len(match["digits"]) != digits:
        raise ValueError(f"a {match['algorithm']} digest has {digits} digits, not {len(match['digits'])}")
