"""Names and sticky keys: checks, and suggestions for mistyped ones.

A sticky key is a template; builds with the same key use the same replica. Fields are in braces, as in
``{repo}/{path}``; all other text is literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass


def find_nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the known name most similar to ``name``, or "". ``cutoff``: similarity from 0 (any) to 1 (equal)."""
    from difflib import get_close_matches

    folded = {candidate.lower(): str(candidate) for candidate in known}
    matches = get_close_matches(name.lower(), folded, n=1, cutoff=cutoff)
    return folded[matches[0]] if matches else ""


def suggest_name(name: str, known: Iterable[str]) -> str:
    """Return the fix for an unknown name: the most similar known name, or all known names."""
    candidates = list(known)
    match = find_nearest(name, candidates) or _find_by_last_part(name, candidates)
    return f"did you mean {match!r}?" if match else f"known: {', '.join(candidates)}"


def _find_by_last_part(name: str, known: Sequence[str]) -> str:
    """Return the first dotted name that ends in ``name``, such as ``requests.cpu`` for ``cpu``, or ""."""
    return next((candidate for candidate in known if candidate.endswith(f".{name.lower()}")), "")


NO_BUILDER = "default"
"""Argument of ``use`` that selects no builder, so that builds create their own. Reserved, as in buildx."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_NAMESPACE = compile_lazily(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = compile_lazily(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_QUALIFIED = compile_lazily(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def check_namespace(text: str, *, source: str) -> str:
    """Check the name of a namespace, a DNS label. Raises InputError."""
    return _check_name(text, "namespace", source)


def check_builder(text: str, *, source: str) -> str:
    """Check the name of a builder or a node, which becomes that of objects: a DNS label. Raises InputError."""
    return _check_name(text, "name", source)


def _check_name(text: str, what: str, source: str) -> str:
    if not _NAMESPACE.fullmatch(text):
        raise InputError(
            f"invalid {what} {text!r}",
            source=source,
            fix="use 1 to 63 characters: a-z, 0-9 and, except at the ends, '-'",
        )
    return text


def is_object_name(text: str) -> bool:
    """Return whether a text is a valid name of an object such as a Secret or a service account: a DNS subdomain."""
    return bool(_SUBDOMAIN.fullmatch(text))


def is_label_name(text: str) -> bool:
    """Return whether a text is a valid name of a label or an annotation: ``name`` or ``domain/name``."""
    prefix, slash, name = text.rpartition("/")
    return bool(_QUALIFIED.fullmatch(name)) and (not slash or is_object_name(prefix))


def is_label_value(text: str) -> bool:
    """Return whether a text is a valid value of a label."""
    return not text or bool(_QUALIFIED.fullmatch(text))


STICKY_FIELDS = ("repo", "path", "image", "target", "platform")
DEFAULT_STICKY_KEY = "{repo}/{path}"
_PARTS = compile_lazily(r"\{([^{}]*)\}|([^{}]+)|(.)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class StickyKey:
    """A valid template."""

    template: str = DEFAULT_STICKY_KEY

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the key for ``values``, which has one for each of FIELDS; leading and trailing slashes are removed.

        Empty fields can leave such slashes.
        """
        return _PARTS.sub(lambda part: values[part[1]] if part[1] else part[0], self.template).strip("/")


def parse_sticky_key(template: str, *, source: str) -> StickyKey:
    """Check a template. Raises InputError for an unknown field or an unpaired brace."""
    known = f"fields are {', '.join(f'{{{name}}}' for name in STICKY_FIELDS)}"
    fields = []
    for part in _PARTS.finditer(template):
        name, _, stray = part.groups()
        if stray:
            raise InputError(f"unpaired {stray!r} in {template!r}", source=source, fix=known)
        if name is not None:
            fields.append(name)
            if name not in STICKY_FIELDS:
                fix = suggest_name(name, STICKY_FIELDS) or known
                raise InputError(f"unknown field {{{name}}} in {template!r}", source=source, fix=fix)
    if not fields:
        raise InputError(
            f"{template!r} has no field, so every build would use the same replica", source=source, fix=known
        )
    return StickyKey(template=template)
