"""The parser of a verb's arguments, which follows the conventions of docker's command line.

As in docker (spf13/pflag), an option always takes the next argument, even if that begins with ``-``. A switch takes a
value only after ``=``. ``-f=x``, ``-f x`` and ``-fx`` are equivalent. Every parse error is an InputError.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from ci_buildx.cli import arguments
from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.settings.names import find_nearest
from ci_buildx.settings.option import DEBUG, Option, OptionKind
from ci_buildx.settings.raw_values import Value
from ci_buildx.settings.syntax import require_boolean

END_OF_OPTIONS = "--"


class HelpFormatter(argparse.HelpFormatter):
    """Formats ``-t, --tag REF`` in one column.

    Prose wraps to the width of the terminal, not at hyphens; indented lines are not wrapped.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        from textwrap import wrap

        lines = [
            [line] if line.startswith(" ") else wrap(line, width, break_on_hyphens=False) or [""]
            for line in text.splitlines()
        ]
        return "\n".join(indent + part for parts in lines for part in parts)

    def _split_lines(self, text: str, width: int) -> list[str]:
        """Wrap text without breaking at hyphens, so that users can copy ``docker-image://REF``."""
        from textwrap import wrap

        return wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return str(action.metavar)
        short_less = "    " if len(action.option_strings) == 1 else ""
        return f"{short_less}{', '.join(action.option_strings)} {action.metavar or ''}".rstrip()


class VerbParser(argparse.ArgumentParser):
    """A verb's options. ``refused`` maps unsupported options of docker's to a hint on what to do instead."""

    def __init__(self, verb: str, usage: str, summary: str, *, examples: str, refused: Mapping[str, str] | None = None):
        super().__init__(
            prog=f"kube-builder {verb}",
            usage=f"kube-builder {verb} {usage}".rstrip(),
            description=summary,
            epilog=examples,
            formatter_class=HelpFormatter,
            add_help=False,
            allow_abbrev=False,
        )
        self.refused = refused or {}

    def add_options(self, options: Sequence[Option]) -> None:
        """Add options of the table under the headings of their groups."""
        groups: dict[str, argparse._ArgumentGroup] = {}
        for option in options:
            if option.group not in groups:
                groups[option.group] = self.add_argument_group(option.group.value)
            _add_option(groups[option.group], option)

    def offer_help(self, group: argparse._ArgumentGroup | None = None) -> None:
        """Add ``-h``, and ``--debug`` if the verb's options lack it."""
        group = group or self.add_argument_group("Other")
        if DEBUG.flag not in self._option_string_actions:
            _add_option(group, DEBUG)
        group.add_argument("-h", "--help", action="help", help="show this help and exit")

    def read(self, argv: Sequence[str], *, surplus_fix: str = "") -> dict[str, list[str] | str | bool]:
        """Parse the arguments, configure the debug log, and return the given values by name.

        ``surplus_fix`` is the advice for an argument too many. Raises InputError; ``--help`` ends the process.
        """
        values = self.parse(argv, surplus_fix=surplus_fix)
        arguments.start_log(values)
        return values

    def parse(self, argv: Sequence[str], *, surplus_fix: str = "") -> dict[str, list[str] | str | bool]:
        """Parse the arguments and return the given values by name. Raises InputError; ``--help`` ends the process."""
        given, surplus = self.parse_known_args(list(self._normalise(argv)))
        if surplus:
            raise InputError(f"unexpected argument {surplus[0]!r}", fix=surplus_fix or self._see_help)
        return vars(given)

    def error(self, message: str) -> NoReturn:
        """Raise argparse's other errors as InputError."""
        raise InputError(message, fix=self._see_help)

    @property
    def _see_help(self) -> str:
        return f"see {self.prog} --help"

    def _normalise(self, argv: Sequence[str]) -> Iterator[str]:
        """Rewrite each option and its value as one ``--name=value``, so that argparse has nothing to guess."""
        rest = iter(argv)
        for argument in rest:
            if argument == END_OF_OPTIONS:
                yield argument
                yield from rest
                return
            if not argument.startswith("-") or argument == arguments.STDIN:
                yield argument
                continue
            name, equals, value = arguments.split(argument)
            action = self._option_string_actions.get(name)
            if action is None:
                raise self._make_unknown_error(name)
            name = action.option_strings[-1]
            if action.nargs == 0:
                yield name
            elif equals:
                yield f"{name}={value}"
            elif action.nargs == "?":
                yield f"{name}=true"
            else:
                yield f"{name}={_take_value(rest, name)}"

    def _make_unknown_error(self, name: str) -> InputError:
        if name in self.refused:
            return InputError(f"option {name} of docker buildx is not supported", fix=self.refused[name])
        match = find_nearest(name, [known for known in self._option_string_actions if known.startswith("--")])
        return InputError(f"unknown option {name}", fix=f"did you mean {match}?" if match else self._see_help)


def _add_option(group: argparse._ArgumentGroup, option: Option) -> None:
    text = option.description.replace("%", "%%")
    if not option.flags:
        group.add_argument(
            option.name,
            nargs="?",
            default=argparse.SUPPRESS,
            metavar=option.metavar,
            help=option.help.replace("%", "%%"),
        )
    elif option.kind is OptionKind.SWITCH:
        group.add_argument(*option.flags, dest=option.name, nargs="?", default=argparse.SUPPRESS, metavar="", help=text)
    else:
        group.add_argument(
            *option.flags,
            dest=option.name,
            action="append" if option.repeatable else "store",
            default=argparse.SUPPRESS,
            metavar=option.metavar or "|".join(option.choices),
            help=text,
        )


def _take_value(rest: Iterator[str], name: str) -> str:
    value = next(rest, None)
    if value is None:
        raise InputError("requires a value", source=name)
    return value


@dataclass(frozen=True, slots=True)
class ParsedArguments:
    """Values by the option's name; those not given are missing. Every method raises InputError."""

    values: Mapping[str, Value]

    def read_text(self, name: str, default: str = "") -> str:
        """Return a single text."""
        value = self.values.get(name, default)
        return value.strip() if isinstance(value, str) else default

    def read_texts(self, name: str) -> list[str]:
        """Return the texts of a repeatable option."""
        value = self.values.get(name) or []
        return [value] if isinstance(value, str) else list(value) if isinstance(value, list) else []

    def switch(self, name: str) -> bool:
        """Return a boolean, by default False."""
        value = self.values.get(name, False)
        return value if isinstance(value, bool) else require_boolean(str(value), source=f"--{name}")

    def read_choice(self, name: str, known: Sequence[str]) -> str:
        """Return one of the known values, by default the first."""
        found = self.read_text(name, known[0])
        if found not in known:
            raise InputError(f"unknown value {found!r}", source=f"--{name}", fix=f"known: {', '.join(known)}")
        return found

    def number(self, name: str) -> int | None:
        """Return a whole number of at least zero, or None if it is not given."""
        found = self.read_text(name)
        if not found:
            return None
        if not (found.isascii() and found.isdecimal() and len(found) < 10):
            raise InputError(f"{found!r} is not a whole number", source=f"--{name}")
        return int(found)

    def select_given(self, *names: str) -> dict[str, Value]:
        """Return those of ``names`` that are given."""
        return {name: self.values[name] for name in names if name in self.values}
