"""Tables of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from bundle.describe import sentence
from ci_buildx.build.context import origin
from ci_buildx.ci import bake_inputs, inputs
from ci_buildx.settings import attribute_table, docker_variables
from ci_buildx.settings import options as settings_options
from ci_buildx.settings.attribute_table import OutputAttribute
from ci_buildx.settings.option import Option, OptionGroup, OptionSurface

ROOT = Path(__file__).resolve().parents[1]
_TITLES = {OptionSurface.GITHUB: "GitHub", OptionSurface.GITLAB: "GitLab"}


def action_table() -> str:
    """Return the table of the Action's inputs, one per row."""
    return _table(inputs.list_inputs(OptionSurface.GITHUB))


def setup_table() -> str:
    """Return the table of the setup step's inputs."""
    return _table(inputs.OF_SETUP)


def action_outputs_table() -> str:
    """Return the table of the Action's outputs, as action.yml declares them."""
    return _make_outputs_table("action.yml")


def setup_outputs_table() -> str:
    """Return the table of the setup step's outputs."""
    return _make_outputs_table("setup/action.yml")


def _make_outputs_table(action: str) -> str:
    outputs = yaml.safe_load((ROOT / action).read_text(encoding="utf-8"))["outputs"]
    rows = [f"| `{name}` | {_cell(output['description'])} |" for name, output in outputs.items()]
    return "\n".join(("| output | description |", "|---|---|", *rows, ""))


def merge_table() -> str:
    """Return the table of the merge step's inputs."""
    return _table(inputs.list_merge_inputs(OptionSurface.GITHUB))


def bake_table() -> str:
    """Return the table of the bake step's inputs."""
    return _table(bake_inputs.list_bake_inputs(OptionSurface.GITHUB))


def _table(options: Iterable[Option]) -> str:
    rows = [f"| `{option.name}` | {_cell(sentence(option, on=OptionSurface.GITHUB))} |" for option in options]
    return "\n".join(("| input | description |", "|---|---|", *rows, ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def options_table() -> str:
    """Return tables of a build's options by group: flag, input, variable and description."""
    lines: list[str] = []
    for group in OptionGroup:
        found = [option for option in settings_options.OPTIONS if option.group is group]
        if found:
            lines += ["", f"### {group.value}", "", "| option | input | variable | |", "|---|---|---|---|"]
            lines += [_option(option) for option in found]
    return "\n".join((*lines[1:], ""))


def systems_table() -> str:
    """Return the table of the variables that identify a job on each CI system."""
    rows = [
        f"| {'anything' if system.name == origin.OWN else system.name} | {_names(system.repository)} | "
        f"{_names(system.run)} | {_names(system.job)} | {_names(system.url)} | {_names(system.checkout)} |"
        for system in origin.SYSTEMS
    ]
    return "\n".join(
        ("| system | repository | run | job | address | checkout |", "|---|---|---|---|---|---|", *rows, "")
    )


def _option(option: Option) -> str:
    flags = ", ".join(f"`{flag}`" for flag in option.flags) or (
        f"`{option.metavar.replace('|', '` or `')}`" if OptionSurface.CLI in option.surfaces else ""
    )
    offered = [surface for surface in (OptionSurface.GITHUB, OptionSurface.GITLAB) if surface in option.surfaces]
    where = "" if len(offered) == 2 or not offered else f" ({_TITLES[offered[0]]} only)"
    named = f"`{option.name}`{where}" if offered else ""
    return f"| {flags} | {named} | `{option.variable}` | {_cell(sentence(option))} |"


def _names(variables: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in variables)


def attributes_table() -> str:
    """Return tables of the attributes of outputs and of caches, by type."""
    lines: list[str] = []
    for title, tables in (
        ("Outputs", attribute_table.OUTPUTS),
        ("Caches that are written (`--cache-to`)", attribute_table.CACHE_EXPORTS),
        ("Caches that are read (`--cache-from`)", attribute_table.CACHE_IMPORTS),
    ):
        lines += ["", f"### {title}", "", "| type | attribute | |", "|---|---|---|"]
        for types, attributes in _group(tables).items():
            kinds = ", ".join(f"`{type_}`" for type_ in types)
            lines += [f"| {kinds} | `{one.name}` | {_cell(_effect(one))} |" for one in attributes]
            lines += [] if attributes else [f"| {kinds} | | none |"]
    return "\n".join((*lines[1:], ""))


def _group(
    tables: Mapping[str, tuple[OutputAttribute, ...]],
) -> dict[tuple[str, ...], tuple[OutputAttribute, ...]]:
    """Group the types with equal attributes."""
    groups: dict[tuple[str, ...], tuple[OutputAttribute, ...]] = {}
    for attributes in dict.fromkeys(tables.values()):
        groups[tuple(type_ for type_, found in tables.items() if found == attributes)] = attributes
    return groups


def _effect(attribute: OutputAttribute) -> str:
    if attribute.refused:
        return f"refused ({attribute.effect}): {attribute.refused}"
    return attribute.effect + (f" ({', '.join(attribute.choices)})" if attribute.choices else "")


def variables_table() -> str:
    """Return the table of buildx's and docker's variables and their effects."""
    rows = [f"| `{one.name}` | {_cell(one.effect)} |" for one in docker_variables.VARIABLES]
    return "\n".join(("| variable | |", "|---|---|", *rows, ""))
