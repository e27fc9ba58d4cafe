"""``--list targets`` and ``--list variables``, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ci_buildx.bake.definitions import LoadedDefinition
from ci_buildx.bake.entries import split_csv
from ci_buildx.bake.targets import BakeDefinition
from ci_buildx.bake.variables import ListedVariable
from ci_buildx.errors import InputError
from ci_buildx.hcl.types.json_values import dump_json
from ci_buildx.model import masker
from ci_buildx.model.plaintext import MASK
from ci_buildx.model.record import dataclass, replace
from ci_buildx.progress.step import drop_controls, escape_controls

_KINDS = ("targets", "variables")
_FORMATS = ("table", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequest:
    """What ``--list`` asks for."""

    kind: str
    format: str = "table"


def parse_list(text: str, *, source: str = "--list") -> ListRequest:
    """Parse ``targets``, ``variables`` or ``type=…,format=json``. Raises InputError."""
    try:
        fields = split_csv(text)
    except ValueError as error:
        raise InputError(str(error), source=source) from None
    found = {"type": text, "format": ""}
    if fields != [text] or text.startswith("type="):
        found["type"] = ""
        for field in fields:
            key, equals, value = field.partition("=")
            name = key.strip().lower()
            if not equals:
                raise InputError(f"invalid value {field}", source=source, fix="write type=targets,format=json")
            if name not in found:
                raise InputError(f"unexpected key '{name}' in '{field}'", source=source, fix="known: type, format")
            found[name] = value
    if found["type"] not in _KINDS:
        raise InputError(f'invalid list type "{found["type"]}"', source=source, fix=f"known: {', '.join(_KINDS)}")
    if found["format"] not in (*_FORMATS, ""):
        known = ", ".join(_FORMATS)
        raise InputError(f'invalid list format "{found["format"]}"', source=source, fix=f"known: {known}")
    return ListRequest(kind=found["type"], format=found["format"] or "table")


def show_list(loaded: LoadedDefinition, text: str, *, hidden: Sequence[str] = ()) -> str:
    """Return what ``--list`` prints, without ``hidden`` texts and variables with a secret's name. Raises InputError."""
    request = parse_list(text)
    if request.kind == "targets":
        shown = show_targets(loaded.definition, request)
    else:
        shown = show_variables([_mask_variable(one) for one in loaded.variables], request)
    shown = masker.mask_secrets(shown, hidden)
    return "\n".join(map(escape_controls if request.format == "json" else drop_controls, shown.split("\n")))


def _mask_variable(variable: ListedVariable) -> ListedVariable:
    """Return a variable without a secret: its value may come from the environment."""
    return replace(variable, value=MASK) if variable.value and masker.is_secret_name(variable.name) else variable


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns, with tabs up to the next multiple of 8 (Go's ``tabwriter`` as buildx uses it)."""
    # A line break in a cell would begin a line of the definition's own.
    rows = [[" ".join(cell.splitlines()) for cell in row] for row in rows]
    widths = [0] * len(rows[0])
    for row in rows:
        for at, cell in enumerate(row[:-1]):
            widths[at] = max(widths[at], len(cell))
    lines = []
    for row in rows:
        cells = []
        for width, cell in zip(widths[:-1], row[:-1], strict=True):
            total = -(-(width + 1) // 8) * 8 if width else 0
            cells.append(cell + "\t" * -(-(total - len(cell)) // 8))
        lines.append("".join(cells) + row[-1] + "\n")
    return "".join(lines)


def show_variables(variables: Sequence[ListedVariable], request: ListRequest) -> str:
    """Return all variables, sorted."""
    found = sorted(variables, key=lambda one: one.name)
    if request.format == "json":
        return dump_json([_describe_variable(one) for one in found], indent=2) + "\n"
    rows = [(one.name, one.type, "<null>" if one.value is None else one.value, one.description) for one in found]
    return format_table([("VARIABLE", "TYPE", "VALUE", "DESCRIPTION"), *rows])


def _describe_variable(variable: ListedVariable) -> dict[str, Any]:
    fields = {"name": variable.name, "description": variable.description, "type": variable.type}
    shown: dict[str, Any] = {key: text for key, text in fields.items() if text or key == "name"}
    return shown if variable.value is None else {**shown, "value": variable.value}


def show_targets(definition: BakeDefinition, request: ListRequest) -> str:
    """Return all targets and groups, sorted, without those that begin with an underscore."""
    found: list[tuple[str, str, bool]] = [(one.name, one.get("description") or "", False) for one in definition.targets]
    for group in definition.groups:
        names = ", ".join(sorted(group.targets))
        text = f"{group.description} ({names})" if group.description and names else group.description or names
        found.append((group.name, text, True))
    public = sorted((one for one in found if not one[0].startswith("_")), key=lambda one: one[0])
    if request.format == "table":
        return format_table([("TARGET", "DESCRIPTION"), *((name, text) for name, text, _ in public)])
    if not public:
        return "null\n"
    listed = [
        {"name": name, **({"description": text} if text else {}), **({"group": True} if is_group else {})}
        for name, text, is_group in public
    ]
    return dump_json(listed, indent=2) + "\n"
