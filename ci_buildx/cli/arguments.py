"""Fast parser for valid arguments, from the table of options alone.

argparse, the translations that it loads and a parser with all options take 4 ms, which is much for a cached build. So
argparse runs only for errors and for ``--help``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ci_buildx.model import debug
from ci_buildx.settings.option import DEBUG, Option, OptionKind
from ci_buildx.settings.syntax import require_boolean

STDIN = "-"
_RAWJSON = "rawjson"


def read(argv: Sequence[str], options: Sequence[Option]) -> dict[str, list[str] | str | bool] | None:
    """Return the given values by name, like :meth:`ci_buildx.cli.parser.VerbParser.read`.

    Returns None if argparse has to respond: for help, an unknown option, a missing value or a surplus argument.
    """
    by_flag = {flag: option for option in options for flag in option.flags}
    places = [option for option in options if not option.flags]
    given: dict[str, list[str] | str | bool] = {}
    rest = iter(argv)
    for argument in rest:
        if not argument.startswith("-") or argument == STDIN:
            if not places:
                return None
            given[places.pop(0).name] = argument
            continue
        flag, attached, text = split(argument)
        option = by_flag.get(flag)
        if option is None:
            return None
        value = text if attached else "true" if option.kind is OptionKind.SWITCH else next(rest, None)
        if value is None:
            return None
        earlier = given.get(option.name)
        given[option.name] = (
            value if not option.repeatable else [*(earlier if isinstance(earlier, list) else ()), value]
        )
    return given


def split(argument: str) -> tuple[str, bool, str]:
    """Split an argument into the option's name, whether a value is attached, and that value."""
    if argument.startswith("--"):
        name, equals, value = argument.partition("=")
        return name, bool(equals), value
    return argument[:2], len(argument) > 2, argument[2:].removeprefix("=")


def start_log(given: Mapping[str, list[str] | str | bool], *, progress: object = None) -> None:
    """Switch on the debug log if an argument or a variable asks for it. Raises InputError.

    ``progress`` is the progress mode, which a variable may have set.
    """
    text = given.get(DEBUG.name)
    wanted = None if text is None else require_boolean(str(text), source=DEBUG.flag)
    debug.choose(wanted, as_json=(progress or given.get("progress")) == _RAWJSON)
