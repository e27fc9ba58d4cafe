"""How buildkitd itself is set up: its configuration file and flags."""

from __future__ import annotations

from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily

_POSITION = compile_lazily(r"\s*\(at line (?P<line>\d+), column (?P<column>\d+)\)")


def read_config(text: str, *, source: str, cwd: Path) -> str:
    """The text of a ``buildkitd.toml`` that exists and is TOML; an error in it is named as ``file:line:column``."""
    try:
        config = (cwd / text).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot read {text!r}: {reason}", source=source) from error
    return check_config(config, name=text, source=source)


def check_config(config: str, *, name: str, source: str) -> str:
    """A text that is TOML; errors call it ``name``."""
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
    """Flags of buildkitd, split as a shell does. Which flags there are, buildkitd alone knows."""
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
