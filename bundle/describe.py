"""Describes an option as a CI system's input, in words and as YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping

import yaml

from ci_buildx.ci.gitlab.inputs import ID_TOKEN, TIMELINE
from ci_buildx.settings.option import Option, OptionKind, OptionSurface

_THERE: Mapping[tuple[OptionSurface | None, str], str] = {
    (OptionSurface.GITHUB, "context"): "the repository at the event's commit, as a git URL",
    (OptionSurface.GITHUB, "tags"): "generated from images and tag-rules",
    (OptionSurface.GITHUB, "labels"): "generated from images",
    (OptionSurface.GITHUB, "provenance"): "mode=min,inline-only=true; mode=max for public repositories",
    (OptionSurface.GITHUB, "timeline"): "an HTML page in the run's artifact",
    (OptionSurface.GITLAB, "tags"): "CI_REGISTRY_IMAGE with a tag from the ref",
    (OptionSurface.GITLAB, "digests"): "the artifacts kube-builder.*.json of earlier jobs",
    (OptionSurface.GITLAB, "labels"): "OCI labels of the commit",
    (OptionSurface.GITLAB, "timeline"): TIMELINE,
    (OptionSurface.GITLAB, "lifetime"): "the job's timeout",
    (OptionSurface.GITLAB, "kube-context"): "KUBE_CONTEXT, else the kubeconfig's current context",
    (OptionSurface.GITLAB, "oidc"): f"env:{ID_TOKEN} if that is set, else the kubeconfig's user",
}
"""Defaults that differ on a CI system from those of the command line."""
_SEVERAL = {OptionKind.LINES: "one per line", OptionKind.WORDS: "one per line or comma-separated"}


def sentence(option: Option, *, on: OptionSurface | None = None) -> str:
    """Return the option's help on one line, with the format of values and the default, ``on`` a CI system.

    GitLab has types: lists are arrays there, and it displays the choices itself.
    """
    arrays = on is OptionSurface.GITLAB
    text = option.as_input or option.help
    notes = []
    if option.repeatable:
        notes += [option.metavar] if arrays else [f"{option.metavar}, {_SEVERAL[option.kind]}"]
    if option.kind is OptionKind.CHOICE and not arrays:
        notes += [", ".join(choice for choice in option.choices if choice)]
    default = _THERE.get((on, option.name)) or option.otherwise or option.default
    if default and (option.kind is not OptionKind.SWITCH or default == "true"):
        notes += [f"default: {default}"]
    noted = f" ({'; '.join(notes)})" if notes else ""
    name = text.partition(" ")[0]
    return (text if "." in name else text[0].upper() + text[1:]) + noted


def scalar(text: str) -> str:
    """Return a YAML scalar for a text: plain if that reads back the same, else in quotes."""
    try:
        plain = yaml.safe_load(f"- key: {text}") == [{"key": text}]
    except yaml.YAMLError:
        plain = False
    return text if plain else json.dumps(text, ensure_ascii=False)
