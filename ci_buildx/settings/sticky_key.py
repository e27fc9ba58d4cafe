"""``--sticky-key``: a template for the key that selects a replica; builds with the same key use the same one.

Fields are in braces, as in ``{repo}/{path}``; all other text is literal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass
from ci_buildx.settings.names import suggest_name

FIELDS = ("repo", "path", "image", "target", "platform")
DEFAULT = "{repo}/{path}"
_PARTS = compile_lazily(r"\{([^{}]*)\}|([^{}]+)|(.)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class StickyKey:
    """A valid template."""

    template: str = DEFAULT

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the key for ``values``, which has one for each of FIELDS; leading and trailing slashes are removed.

        Empty fields can leave such slashes.
        """
        return _PARTS.sub(lambda part: values[part[1]] if part[1] else part[0], self.template).strip("/")


def parse_sticky_key(template: str, *, source: str) -> StickyKey:
    """Check a template. Raises InputError for an unknown field or an unpaired brace."""
    known = f"fields are {', '.join(f'{{{name}}}' for name in FIELDS)}"
    fields = []
    for part in _PARTS.finditer(template):
        name, _, stray = part.groups()
        if stray:
            raise InputError(f"stray {stray!r} in {template!r}", source=source, fix=known)
        if name is not None:
            fields.append(name)
            if name not in FIELDS:
                fix = suggest_name(name, FIELDS) or known
                raise InputError(f"unknown field {{{name}}} in {template!r}", source=source, fix=fix)
    if not fields:
        raise InputError(f"{template!r} has no field: every build would go to one replica", source=source, fix=known)
    return StickyKey(template=template)
