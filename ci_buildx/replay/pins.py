"""Pins the sources of a build to the digests that its provenance records, as a source policy of BuildKit.

The policy is BuildKit's own (v0.34.2, ``sourcepolicy/engine.go``): the last rule that allows or denies a source wins,
and a source that a rule converts is judged again under its new name. Names of sources are those of BuildKit
(``client/llb/source.go``) and of package URLs (``util/purl/image.go``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from ci_buildx.errors import InputError
from ci_buildx.model.platform import Platform, parse_platform
from ci_buildx.model.record import dataclass
from ci_buildx.model.reference import parse_reference
from ci_buildx.replay.predicate import BuildMaterial, BuildPredicate
from ci_buildx.settings.contexts import is_git
from ci_buildx.settings.values import SOURCE_POLICY, SourcePolicy, SourceRule, SourceSelector, SourceUpdate

IMAGE = "docker-image://"
PACKAGE = "pkg:docker/"
_GIT_PREFIX = "git+"
_LOCAL = "local://*"
_ALL = "*"
_WILDCARD, _EXACT = 0, 1
_ALLOW, _DENY, _CONVERT = 0, 1, 2
_HTTP_CHECKSUM, _GIT_CHECKSUM = "http.checksum", "git.checksum"
_HTTP = ("http://", "https://")


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedSource:
    """A source under BuildKit's name, with the digest that it must have."""

    identifier: str
    digest: str


def make_pin_policy(predicate: BuildPredicate, added: SourcePolicy | None = None) -> SourcePolicy:
    """Return a policy that allows only the recorded sources, with the recorded content.

    Folders of the session are allowed: a replay sends only a file of its own, for the check for policies. Rules of the
    user's policy ``added`` may deny more. Raises InputError if they do anything else.
    """
    pins = list_pins(predicate)
    digests: dict[str, set[str]] = {}
    for pin in pins:
        digests.setdefault(pin.identifier, set()).add(pin.digest)
    rules = [_make_rule(_DENY, _ALL, match=_WILDCARD), _make_rule(_ALLOW, _LOCAL, match=_WILDCARD)]
    for pin in pins:
        if len(digests[pin.identifier]) == 1:
            rules += _make_rules(pin)
        elif pin.identifier.startswith(IMAGE):
            # Two digests were recorded under one name: only requests that name one of them are unambiguous.
            rules.append(_make_rule(_ALLOW, f"{pin.identifier}@{pin.digest}"))
    return SourcePolicy(version=1, rules=(*rules, *_check_added(added)))


def _check_added(added: SourcePolicy | None) -> Iterable[SourceRule]:
    rules = added.rules if added is not None else ()
    if any(rule.action != _DENY for rule in rules):
        raise InputError(
            "rules that allow or convert sources cannot be combined with pinned sources",
            source=SOURCE_POLICY,
            fix="unset the variable, or set --replay-mode=frontend",
        )
    return rules


def list_pins(predicate: BuildPredicate) -> list[PinnedSource]:
    """Return the recorded sources that have a digest and a known form, the context last."""
    found = (make_pin(one) for one in (*predicate.materials, predicate.source))
    return list(dict.fromkeys(one for one in found if one is not None))


def make_pin(material: BuildMaterial) -> PinnedSource | None:
    """Return a material under BuildKit's name; None without a digest, or if its URI has no known form."""
    if not material.digest:
        return None
    if material.uri.startswith(PACKAGE):
        return _pin_image(material)
    if is_git_source(material.uri):
        name = name_git_source(material.uri)
        return PinnedSource(identifier=name, digest=material.digest) if name else None
    return PinnedSource(identifier=material.uri, digest=material.digest) if material.uri.startswith(_HTTP) else None


def is_git_source(uri: str) -> bool:
    """Return whether a material's URI names a repository: with a git scheme, or a path that ends with ``.git``."""
    return uri.startswith(_GIT_PREFIX) or (not uri.startswith("pkg:") and is_git(uri))


def name_git_source(uri: str) -> str:
    """Return BuildKit's name for a repository, ``git://host/path#ref:folder``; "" if the URI has no host."""
    uri = uri.removeprefix(_GIT_PREFIX)
    plain, _, fragment = uri.partition("#")
    plain, _, query = plain.partition("?")
    if "://" in plain:
        try:
            parts = urlsplit(plain)
            host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
        except ValueError:
            return ""
        path = parts.path
    else:  # user@host:path
        host, _, path = plain.rpartition("@")[2].partition(":")
    if not host:
        return ""
    named = dict(parse_qsl(query))
    ref, _, folder = fragment.partition(":")
    ref = ref or named.get("ref") or named.get("branch") or named.get("tag") or ""
    folder = (folder or named.get("subdir", "")).strip("/")
    name = f"git://{host}/{path.strip('/')}"
    if not (ref or folder):
        return name
    return f"{name}#{ref}" + (f":{folder}" if folder else "")


def parse_package(uri: str) -> tuple[str, str, Platform | None]:
    """Return reference, digest and platform of a package URL, the last two "" and None if missing. Raises ValueError.

    The reference has a tag unless the URL names only a digest (BuildKit v0.34.2, ``util/purl/image.go``).
    """
    plain, _, query = uri.removeprefix(PACKAGE).partition("?")
    named = dict(parse_qsl(query.partition("#")[0]))
    name, _, version = plain.partition("#")[0].partition("@")
    version, digest = unquote(version), named.get("digest", "")
    if ":" in version:
        version, digest = "", version
    reference = parse_reference(unquote(name) + (f":{version}" if version else ""))
    if not digest:
        reference = reference.add_default_tag()
    platform = named.get("platform")
    return str(reference), digest, parse_platform(platform) if platform else None


def _pin_image(material: BuildMaterial) -> PinnedSource | None:
    try:
        reference, digest, _ = parse_package(material.uri)
    except ValueError:
        return None
    if digest and digest != material.digest:
        message = f"the provenance is malformed: {material.uri[:200]!r} has another digest than {material.digest}"
        raise InputError(message)
    return PinnedSource(identifier=f"{IMAGE}{reference}", digest=material.digest)


def _make_rules(pin: PinnedSource) -> list[SourceRule]:
    """Return rules that give a source its recorded digest, and allow it with that only."""
    if pin.identifier.startswith(IMAGE):
        pinned = f"{pin.identifier}@{pin.digest}"
        return [_make_rule(_CONVERT, pin.identifier, update=pinned), _make_rule(_ALLOW, pinned)]
    is_http = pin.identifier.startswith(_HTTP)
    checked = {_HTTP_CHECKSUM: pin.digest} if is_http else {_GIT_CHECKSUM: pin.digest.partition(":")[2]}
    return [
        _make_rule(_CONVERT, pin.identifier, update=pin.identifier, attributes=checked),
        _make_rule(_ALLOW, pin.identifier),
    ]


def _make_rule(
    action: int, identifier: str, *, match: int = _EXACT, update: str = "", attributes: Mapping[str, str] | None = None
) -> SourceRule:
    updates = SourceUpdate(identifier=update, attrs=attributes or {}) if update else None
    return SourceRule(action=action, selector=SourceSelector(identifier=identifier, match_type=match), updates=updates)
