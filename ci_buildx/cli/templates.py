"""Values of ``--format`` of verbs that list something: names of formats, and Go templates as docker's tools read them.

Source: docker/cli 29.8.2, ``cli/command/formatter/formatter.go`` and ``templates/templates.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ci_buildx.cli import formatting
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.settings.option import Option, OptionGroup

if TYPE_CHECKING:
    from ci_buildx.gotemplate.functions import Function
    from ci_buildx.gotemplate.kinds import GoKind, GoValue

SOURCE = "--format"
TABLE = "table"
JSON = "json"
_AS_JSON = ("{{json.}}", "{{.|json}}")
_ESCAPES = (("\\t", "\t"), ("\\n", "\n"))
_OF_TITLES = ("json", "split", "join", "title", "lower", "upper", "truncate")
"""Functions that leave the titles of columns as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat:
    """The ``name`` of a known format, "" for a template, or ``table`` with a template of its rows."""

    name: str = ""
    template: str = ""

    @property
    def is_table(self) -> bool:
        """Whether the output is a table, whose names and sizes may have marks."""
        return self.name == TABLE

    def write(
        self,
        rows: Iterable[Mapping[str, Any]],
        kind: GoKind,
        around: ProcessContext,
        *,
        titles: Mapping[str, str] | None = None,
    ) -> None:
        """Evaluate the template for each row and print the results, in a table below the ``titles`` of its columns.

        Raises InputError if the template is malformed or does not fit the rows.
        """
        from ci_buildx.gotemplate.functions import DOCKER
        from ci_buildx.gotemplate.kinds import GoValue
        from ci_buildx.gotemplate.template import GoTemplate
        from ci_buildx.progress.step import drop_controls

        template = GoTemplate(self.template, DOCKER, source=SOURCE)
        lines = [template.execute(GoValue(kind, row)) for row in rows]
        if self.is_table:
            header, *others = (line.split("\t") for line in (_format_titles(self.template, titles or {}), *lines))
            around.stdout.write(formatting.format_table(header, others))
            return
        text = "".join(f"{line}\n" for line in lines)
        around.stdout.write(drop_controls(text) if around.stdout.isatty() else text)


def make_option(*names: str, default: str = "") -> Option:
    """Make the option ``--format`` of a verb that knows formats by these names."""
    known = ", ".join(names)
    return Option(
        name="format",
        flags=("--format",),
        metavar="FORMAT",
        default=default or names[0],
        group=OptionGroup.DISPLAY,
        help=f"output format: {known}, or a Go template such as '{{{{.Name}}}}' or 'table {{{{.Name}}}}'; "
        "json is one object per line",
    )


def read_format(text: str, names: Sequence[str]) -> OutputFormat:
    """Read a value of ``--format``; the first of ``names`` is the default. Raises InputError for an unknown name."""
    text = text.strip(" ") or names[0]
    if text in names:
        return OutputFormat(name=text)
    if "".join(text.split()) in _AS_JSON:
        return OutputFormat(name=JSON)
    if "{{" not in text:
        fix = f"known: {', '.join(names)}, or a Go template such as '{{{{.Name}}}}'"
        raise InputError(f"unknown value {text!r}", source=SOURCE, fix=fix)
    name = TABLE if text.startswith(f"{TABLE} ") and TABLE in names else ""
    template = text.removeprefix(name).strip(" ")
    for escape, character in _ESCAPES:
        template = template.replace(escape, character)
    return OutputFormat(name=name, template=template)


def _format_titles(text: str, titles: Mapping[str, str]) -> str:
    """Return the first row: the template for the titles, "" where it does not fit them."""
    from ci_buildx.gotemplate.functions import DOCKER
    from ci_buildx.gotemplate.kinds import TEXT, GoValue, MapKind
    from ci_buildx.gotemplate.template import GoTemplate

    functions: dict[str, Function] = {**DOCKER, **dict.fromkeys(_OF_TITLES, _keep_first)}
    with suppress(InputError):
        return GoTemplate(text, functions, source=SOURCE).execute(GoValue(MapKind(TEXT), titles))
    return ""


def _keep_first(values: Sequence[GoValue]) -> GoValue:
    # Docker's order of arguments: a text that is piped into the function comes last.
    return values[0]
