"""Expressions in double braces: ``{{branch}}``, ``{{date 'YYYYMMDD' tz='Asia/Tokyo'}}``.

A subset of Handlebars 4.7: a name, literals and ``key='literal'``. A bare word as argument is a name that stands for
nothing, as there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ci_buildx.ci.metadata import dates
from ci_buildx.ci.metadata.facts import HEADS, TAGS, Facts
from ci_buildx.errors import InputError
from ci_buildx.settings.nearest import suggest

_ARGUMENT = re.compile(r"(?:(?P<key>\w+)=)?(?:'(?P<single>[^']*)'|\"(?P<double>[^\"]*)\"|(?P<bare>[\w./+-]+))")
_PLAIN = re.sub(r"\?P<\w+>", "?:", _ARGUMENT.pattern)
_EXPRESSION = re.compile(
    rf"(?P<escape>\\)?\{{\{{(?P<third>\{{)?\s*(?P<name>[A-Za-z_]\w*)(?P<rest>(?:\s+{_PLAIN})*)\s*(?(third)\}}\}}\}}|\}}\}})"
)
_BRACES = "{{"
_SHOWN = 40
"""Characters of what is refused."""

Call = Callable[[list[str], Mapping[str, str]], str]
"""What a name stands for, given the arguments and those that have keys."""


def evaluate(text: str, names: Mapping[str, Call], *, source: str) -> str:
    """The text with each expression replaced. InputError for a name, or other Handlebars, that is not known."""

    def replaced(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in names:
            raise InputError(f"unknown expression {{{{{name}}}}}", source=source, fix=suggest(name, names))
        arguments: list[str] = []
        keyed: dict[str, str] = {}
        for one in _ARGUMENT.finditer(found["rest"]):
            value = one["single"] or one["double"] or ""
            if one["key"]:
                keyed[one["key"]] = value or one["bare"] or ""
            else:
                arguments.append(value)
        return names[name](arguments, keyed)

    check(text, source=source)
    return _EXPRESSION.sub(replaced, text)


def check(text: str, *, source: str) -> None:
    """Refuse what is left: blocks, comments, partials, paths and subexpressions would end in a tag as they are."""
    position = 0
    while (found := text.find(_BRACES, position)) >= 0:
        start = found - 1 if found and text[found - 1] == "\\" else found
        known = _EXPRESSION.match(text, start)
        if not known or known["escape"]:
            shown = text[start : start + _SHOWN].partition("}}")
            message = f"unsupported expression {''.join(shown[:2])!r}"
            fix = "write {{NAME}} or {{NAME 'TEXT' key='TEXT'}}; other Handlebars is not evaluated"
            raise InputError(message, source=source, fix=fix)
        position = known.end()


def is_only(text: str, name: str) -> bool:
    """Whether the text is nothing but the expression of one name."""
    found = _EXPRESSION.fullmatch(text)
    return bool(found) and found["name"] == name and not found["rest"].strip() if found else False


def values(**texts: str) -> dict[str, Call]:
    """Names that stand for texts."""
    return {name: _constant(text) for name, text in texts.items()}


def dates_of(facts: Facts, *, source: str) -> dict[str, Call]:
    """``date`` and ``commit_date``."""

    def writer(name: str) -> Call:
        def write(arguments: list[str], keyed: Mapping[str, str]) -> str:
            if unknown := sorted(keyed.keys() - {"tz"}):
                raise InputError(f"unknown attribute {unknown[0]!r} of {{{{{name}}}}}", source=source, fix="use tz")
            when = facts.now if name == "date" else facts.commit_date
            here = dates.in_zone(when, keyed.get("tz", "UTC"), source=source)
            return dates.formatted(here, arguments[0] if arguments else "")

        return write

    return {name: writer(name) for name in ("date", "commit_date")}


def everywhere(facts: Facts, *, source: str) -> dict[str, Call]:
    """The names that metadata-action's documentation calls global expressions."""
    default = facts.on_default_branch
    return dates_of(facts, source=source) | values(
        branch=facts.after(HEADS),
        tag=facts.after(TAGS),
        sha=facts.short_sha,
        base_ref=facts.base,
        is_default_branch=str(default).lower(),
        is_not_default_branch=str(not default).lower(),
    )


def _constant(text: str) -> Call:
    return lambda _arguments, _keyed: text
