"""``--jobs``: how many targets build at once, and what a failure does to the others (docker buildx 0.38.2)."""

from __future__ import annotations

from enum import StrEnum

from ci_buildx.bake.entries import split_csv
from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass

FLAG = "--jobs"
_FIX = "write a number, or MODE with MODE fail-fast, defer-output or defer-error, as in defer-error,parallel=2"


class FailureMode(StrEnum):
    """What a failed target does to the others.

    ``fail-fast`` ends them; ``defer-output`` exports nothing before all are computed; ``defer-error`` builds them all.
    """

    FAIL_FAST = "fail-fast"
    DEFER_OUTPUT = "defer-output"
    DEFER_ERROR = "defer-error"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetExecution:
    """How targets are run; ``parallel`` is the limit, 0 for none."""

    mode: FailureMode = FailureMode.FAIL_FAST
    parallel: int = 0

    def check(self, count: int, *, linked: bool) -> None:
        """Raise InputError if ``count`` targets, of which some may be ``linked``, cannot be run like this."""
        if not 0 < self.parallel < count:
            return
        if self.mode is FailureMode.DEFER_OUTPUT:
            message = f"defer-output requires parallelism to be unlimited or at least the number of targets, {count}"
            raise InputError(message, source=FLAG, fix="omit the limit")
        if linked:
            message = "limited parallelism is not supported with linked targets"
            raise InputError(message, source=FLAG, fix="omit the limit")


def parse_jobs(text: str, *, source: str = FLAG) -> TargetExecution:
    """Parse a number, or a mode with or without ``parallel=``. Raises InputError."""
    value = text.strip()
    if not value:
        return TargetExecution()
    if _is_integer(value):
        value = f"parallel={value}"
    try:
        fields = split_csv(value)
    except ValueError as error:
        raise InputError(f"invalid jobs option: {error}", source=source, fix=_FIX) from None
    found: dict[str, str] = {}
    for field in fields:
        key, equals, given = (part.strip() for part in field.strip().partition("="))
        name, given = (key.lower(), given) if equals else ("mode", key)
        if name in found:
            raise InputError(f'duplicate jobs option "{name}"', source=source, fix=_FIX)
        if name not in ("mode", "parallel"):
            raise InputError(f'unknown jobs option "{name}"', source=source, fix=_FIX)
        found[name] = given
    return TargetExecution(mode=_read_mode(found, source), parallel=_read_limit(found, source))


def _is_integer(text: str) -> bool:
    return text.lstrip("+-").isascii() and text.lstrip("+-").isdecimal() and len(text) - len(text.lstrip("+-")) <= 1


def _read_mode(found: dict[str, str], source: str) -> FailureMode:
    mode = found.get("mode", FailureMode.FAIL_FAST)
    if mode not in tuple(FailureMode):
        raise InputError(f'invalid jobs mode "{mode}"', source=source, fix=_FIX)
    return FailureMode(mode)


def _read_limit(found: dict[str, str], source: str) -> int:
    text = found.get("parallel", "0")
    if not _is_integer(text) or int(text) < 0:
        message = f'invalid jobs parallel value "{text}": must be a non-negative integer'
        raise InputError(message, source=source, fix=_FIX)
    return int(text)
