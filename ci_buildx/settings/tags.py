"""The names that the image is pushed as."""

from __future__ import annotations

from collections.abc import Iterable

from ci_buildx.errors import InputError
from ci_buildx.model import reference


def parse_tags(texts: Iterable[str], *, source: str) -> tuple[str, ...]:
    """Check references against distribution's grammar; they stay as typed, in order and without duplicates."""
    tags = dict.fromkeys(text.strip() for text in texts)
    for tag in tags:
        check_tag(tag, source=source)
    return tuple(tags)


def check_tag(text: str, *, source: str) -> None:
    """Refuse what no registry would take as the name of a pushed image."""
    try:
        parsed = reference.parse(text)
    except ValueError as error:
        fix = "repeat the option for each tag" if "," in text else "write it like registry/name:tag"
        raise InputError(f"invalid tag {text!r}: {error}", source=source, fix=fix) from error
    if parsed.digest:
        raise InputError(
            f"invalid tag {text!r}: the digest is what the build finds out", source=source, fix="leave out '@…'"
        )
