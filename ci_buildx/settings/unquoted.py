"""Rejects content that was pasted where a path, a URL or a name is expected, without quoting it."""

from __future__ import annotations

from collections.abc import Iterator

from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.pasted import describe_pasted

_FREE = frozenset(
    (
        *("build-args", "labels", "annotations", "secrets", "driver-opts", "builder-config", "buildkitd-config-inline"),
        *("buildkitd-flags", "sticky-key", "kubeconfig"),
    )
)
"""Options whose values are free text, or that check their values themselves."""
_FIELDS = frozenset(("secrets", "cache-from", "cache-to", "outputs"))
"""Options with ``key=value`` fields, some of which name something."""
_PATHS = frozenset(
    ("file", "ssh", "metadata-file", "iidfile", "timeline", "buildkitd-config", "build-contexts", "context")
)
_NAMING = compile_lazily(r"(?s)(?:^|,)\s*\"?(?:src|source|dest|ref)=(.*)")


def refuse_pasted(name: str, texts: Iterator[str], *, source: str) -> None:
    """Raise InputError if a value of the option ``name`` looks like content instead of a name."""
    for text in texts:
        for part in _split_parts(name, text):
            if looks := describe_pasted(part, is_path=name in _PATHS or name in _FIELDS):
                raise make_refusal(looks, source=source)


def make_refusal(looks: str, *, source: str) -> InputError:
    """Return the error, which describes the value without quoting it."""
    fix = "write the text into a file and name that (on GitLab: a variable of type File)"
    return InputError(f"expects a name, a path or a URL and is given what looks like {looks}", source=source, fix=fix)


def _split_parts(name: str, text: str) -> Iterator[str]:
    if name in _FIELDS:
        if found := _NAMING.search(text):
            rest = found[1]
            yield rest if describe_pasted(rest) else rest.partition(",")[0]
        return
    if name in _FREE:
        return
    yield text
    if name in ("ssh", "build-contexts"):
        yield from text.partition("=")[2].split(",")
