"""buildkitd's configuration file and flags."""

from __future__ import annotations

from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily

_POSITION = compile_lazily(r"\s*\(at line (?P<line>\d+), column (?P<column>\d+)\)")


def read_config(text: str, *, source: str, cwd: Path) -> str:
    """Read a ``buildkitd.toml`` and check its syntax; errors locate the problem as ``file:line:column``.

    Returns the text unchanged. Raises InputError if the file cannot be read or is not valid TOML.
    """
    try:
        config = (cwd / text).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot read {text!r}: {reason}", source=source) from error
    return check_config(config, name=text, source=source)


def check_config(config: str, *, name: str, source: str) -> str:
    """Return a text after checking that it is valid TOML; errors call it ``name``. Raises InputError."""
    import tomllib

    try:
        tomllib.loads(config)
    except tomllib.TOMLDecodeError as error:
        raise InputError(_locate_error(name, str(error)), source=source) from error
    return config


def _locate_error(file: str, reason: str) -> str:
    match = _POSITION.search(reason)
    place = f"{file}:{match['line']}:{match['column']}" if match else f"{file}: at its end"
    return f"{place}: {_POSITION.sub('', reason).replace(' (at end of document)', '')}"


def parse_flags(text: str, *, source: str) -> tuple[str, ...]:
    """Split flags of buildkitd like a shell.

    Their names are not checked: only buildkitd knows them. Raises InputError for unbalanced quotes and non-flags.
    """
    import shlex

    try:
        flags = shlex.split(text)
    except ValueError as error:
        raise InputError(
            f"cannot split {text!r}: {str(error).lower()}", source=source, fix="close the quote"
        ) from error
    if flags and not flags[0].startswith("-"):
        raise InputError(f"{flags[0]!r} is not a flag", source=source, fix="flags begin with '-'")
    return tuple(flags)
